"""Extending a bank: what a fresh one of all files would hold, old shards untouched, all or nothing."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pdiff import _core
from pdiff.bank import Bank, collect, shards
from pdiff.common.directories import locked
from pdiff.common.errors import InputError, UsageError
from tests import forks
from tests.hostile.notes import Notes
from tests.killing import drive, in_child, kills, tree
from tests.support import MEMBERS, checkpoint

NEW = 6


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_SHARD_ROWS", 5)


@pytest.fixture
def more(tmp_path: Path) -> Path:
    """A folder of NEW other checkpoints."""
    folder = tmp_path / "more"
    folder.mkdir()
    for index in range(MEMBERS, MEMBERS + NEW):
        save_file(checkpoint(index), folder / f"step-{index}.safetensors")
    return folder


def edit(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    for file in folder.iterdir():
        state = load_file(file)
        change(state)
        save_file(state, file)


def test_an_extended_bank_has_the_rows_and_statistics_of_a_fresh_one(
    bank: Bank, ckpts: Path, more: Path, tmp_path: Path
) -> None:
    before = {path: path.stat() for path in (bank.path / "shards").iterdir()}
    extended = collect(more, out=bank.path, extend=True)
    fresh = collect(ckpts, more, out=tmp_path / "fresh")
    assert [m.digest for m in extended.members] == [m.digest for m in fresh.members]
    everyone = range(MEMBERS + NEW)
    assert torch.equal(extended.batch(everyone), fresh.batch(everyone))
    assert extended.statistics.keys() == fresh.statistics.keys()
    for name, values in extended.statistics.items():
        assert torch.equal(values, fresh.statistics[name]), name
    for path, status in before.items():
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (status.st_ino, status.st_mtime_ns)
    names = sorted(path.name for path in bank.path.iterdir())
    assert names == ["bank.json", "base.safetensors", "shards", "stats-00001.safetensors"]


def test_members_that_are_there_count_once(bank: Bank, ckpts: Path, more: Path) -> None:
    shutil.copy(ckpts / "step-3.safetensors", more / "again.safetensors")
    assert len(collect(more, out=bank.path, extend=True)) == MEMBERS + NEW
    before = tree(bank.path)
    assert len(collect(ckpts, more, out=bank.path, extend=True)) == MEMBERS + NEW
    assert tree(bank.path) == before


def test_a_bank_can_be_extended_again(bank: Bank, more: Path, tmp_path: Path) -> None:
    collect(more, out=bank.path, extend=True)
    (tmp_path / "third").mkdir()
    save_file(checkpoint(40), tmp_path / "third" / "x.safetensors")
    extended = collect(tmp_path / "third", out=bank.path, extend=True)
    assert extended.manifest.statistics.file == "stats-00002.safetensors"
    assert [entry.rows for entry in extended.manifest.shards] == [5, 5, 2, 5, 1, 1]
    assert torch.equal(extended.batch([MEMBERS + NEW])[0], extended.flatten(checkpoint(40)))


def test_what_does_not_fit_is_refused_and_the_bank_stays(bank: Bank, more: Path) -> None:
    before = tree(bank.path)
    save_file(checkpoint(50) | {"layer.bias": torch.zeros(4)}, more / "other.safetensors")
    with pytest.raises(InputError, match=r"other.safetensors holds layer.bias as F32 \[4\], not F32 \[3\]"):
        collect(more, out=bank.path, extend=True)
    assert tree(bank.path) == before
    assert len(collect(more, out=bank.path, extend=True, majority=True)) == MEMBERS + NEW


def test_another_rest_needs_a_base(bank: Bank, more: Path) -> None:
    edit(more, lambda state: state["frozen.weight"].add_(1))
    base = bank.path / "base.safetensors"
    with pytest.raises(InputError, match=f"frozen.weight differs from the bank's.*--base {base}"):
        collect(more, out=bank.path, extend=True)
    with pytest.raises(InputError, match=r"frozen.weight differs from the bank's"):
        collect(more, out=bank.path, extend=True, base=more / "step-12.safetensors")
    extended = collect(more, out=bank.path, extend=True, base=base)
    assert torch.equal(extended.base["frozen.weight"], checkpoint(0)["frozen.weight"])


def zipped(index: int) -> dict[str, Tensor]:
    """Return a checkpoint of which 4 MiB never vary."""
    return {
        "frozen": torch.arange(2.0**20),
        "layer": torch.full((3,), float(index)),
        "n": torch.tensor(index),
    }


READ = """
import sys
from pathlib import Path
from pdiff.bank import collect
def read(): return int(Path("/proc/self/io").read_text().split()[1])
before = read()
collect(*sys.argv[2:], out=sys.argv[1], extend=True)
print(read() - before)
"""


def extension_reads(*paths: Path) -> int:
    done = forks.run(READ, *paths)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_an_extension_reads_the_rest_of_one_new_checkpoint_only(tmp_path: Path) -> None:
    for name, indices in {"old": range(12), "new": range(12, 16)}.items():
        (tmp_path / name).mkdir()
        for index in indices:
            torch.save(zipped(index), tmp_path / name / f"{index}.pt")
    old, new = tmp_path / "old", tmp_path / "new"
    bank = collect(old, out=tmp_path / "bank")
    assert extension_reads(bank.path, old) < 4 * 2**20
    assert extension_reads(bank.path, old, new) < 12 * 2**20  # the bank's and a new one's, none of 14 others'
    assert len(Bank.open(bank.path)) == 16


@pytest.mark.parametrize("odd", [12, 13, 15])
def test_a_rest_that_differs_in_any_new_torch_archive_is_refused(tmp_path: Path, odd: int) -> None:
    for name, indices in {"old": range(12), "new": range(12, 16)}.items():
        (tmp_path / name).mkdir()
        for index in indices:
            state = zipped(index)
            state["frozen"][1000] += index == odd
            torch.save(state, tmp_path / name / f"{index}.pt")
    bank = collect(tmp_path / "old", out=tmp_path / "bank")
    before = tree(bank.path)
    with pytest.raises(InputError, match="frozen differs from the bank's, and is not generated"):
        collect(tmp_path / "old", tmp_path / "new", out=bank.path, extend=True)
    assert tree(bank.path) == before


def test_what_differs_and_cannot_be_modelled_is_named(bank: Bank, more: Path) -> None:
    notes = Notes()
    collect(more, out=bank.path, extend=True, progress=notes)
    expected = "taken from the bank, though different in new checkpoints: bn.num_batches_tracked"
    assert notes.lines[-2:] == [expected, "6 new checkpoints, 0 are in the bank already"]


def test_a_bank_with_a_base_of_its_own_takes_any_rest(ckpts: Path, more: Path, tmp_path: Path) -> None:
    bank = collect(ckpts, out=tmp_path / "b", base=ckpts / "step-0.safetensors")
    edit(more, lambda state: state["frozen.weight"].add_(1))
    edit(more, lambda state: state.update(extra=torch.ones(2)))
    assert len(collect(more, out=bank.path, extend=True)) == MEMBERS + NEW
    edit(more, lambda state: state.pop("layer.bias"))
    with pytest.raises(InputError, match="lacks layer.bias: it does not fit"):
        collect(more, out=bank.path, extend=True)


@pytest.mark.parametrize(
    "options", [{"select_globs": ["*"]}, {"last_norms": 1}, {"resume": True}, {"overwrite": True}]
)
def test_extending_keeps_the_selection(bank: Bank, more: Path, options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="--extend keeps the bank's selection"):
        collect(more, out=bank.path, extend=True, **options)  # type: ignore[arg-type]


def test_there_must_be_a_bank_that_nobody_else_extends(bank: Bank, more: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no bank here"):
        collect(more, out=tmp_path / "none", extend=True)
    with (
        locked(bank.path, "extending"),
        pytest.raises(UsageError, match="another process is extending it; wait until it has finished"),
    ):
        collect(more, out=bank.path, extend=True)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "x"), KeyboardInterrupt()])
def test_a_failed_extension_leaves_the_old_bank(
    bank: Bank, more: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    before = tree(bank.path)

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(_core, "write_statistics", fail)
        with pytest.raises(type(error)):
            collect(more, out=bank.path, extend=True)
    assert tree(bank.path) == before


def test_a_bank_that_is_not_writable_is_refused_at_once(
    bank: Bank, more: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != bank.path)
    with pytest.raises(UsageError, match="is not writable; name another with --out"):
        collect(more, out=bank.path, extend=True)


def test_a_bank_opened_before_says_that_it_was_changed(bank: Bank, more: Path) -> None:
    collect(more, out=bank.path, extend=True)
    with pytest.raises(InputError, match="stats.safetensors: gone, though bank.json names it"):
        _ = bank.statistics


def kill_extension(folder: Path) -> None:
    shards._SHARD_ROWS, shards._TOGETHER = 4, 1
    original = folder / "original"
    in_child(lambda: collect(folder / "ckpts", out=original))
    shutil.copytree(original, folder / "whole")
    in_child(lambda: collect(folder / "more", out=folder / "whole", extend=True))
    old, new = tree(original), tree(folder / "whole")
    bank = folder / "bank"
    shutil.copytree(original, bank)
    steps = []
    for step in kills(lambda: collect(folder / "more", out=bank, extend=True)):
        steps.append(step)
        found = tree(bank)
        valid = old if found["bank.json"] == old["bank.json"] else new
        assert {name: found[name] for name in valid} == valid
        in_child(lambda: collect(folder / "more", out=bank, extend=True))
        assert tree(bank) == new
        shutil.rmtree(bank)
        shutil.copytree(original, bank)
    assert steps == [
        *["remove_stale", "remove_stale", "mkdir"],
        *["write_shards", "write_shards", "write_statistics", "digest_file"],
        *["write_file", "unlink"],  # the new manifest, the old statistics
    ], steps


def test_wherever_it_is_killed_the_bank_is_the_old_or_the_new_one(
    ckpts: Path, more: Path, tmp_path: Path
) -> None:
    drive(kill_extension, tmp_path)
