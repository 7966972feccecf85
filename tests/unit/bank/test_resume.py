"""Collecting that is interrupted goes on, and ends with the same bytes."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from pdiff import _core
from pdiff.bank import Bank, collect, intake, shards
from pdiff.common.errors import InputError, UsageError
from tests.killing import drive, in_child, kills, tree
from tests.support import MEMBERS, Said, checkpoint


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_SHARD_ROWS", 5)
    monkeypatch.setattr(shards, "_TOGETHER", 1)


def fail_at_shard(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> list[str]:
    """Let writing shard `number` fail; returns the list of shards that are written."""
    write, written = _core.write_shards, []

    def failing(
        parts: list[tuple[Path, list[_core.Origin]]], layout: _core.Layout, *, dtype: str
    ) -> list[tuple[list[str], str]]:
        if any(path.name == f"{number:05d}.safetensors" for path, _ in parts):
            raise error
        written.extend(path.name for path, _ in parts)
        return write(parts, layout, dtype=dtype)

    monkeypatch.setattr(_core, "write_shards", failing)
    return written


def staged(folder: Path) -> list[Path]:
    return list(folder.glob(".*.staged-*"))


@pytest.fixture
def interrupted(ckpts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Interrupt `collect` after two of three shards; the function returned counts what is written after."""
    with monkeypatch.context() as patch:
        fail_at_shard(patch, 2, KeyboardInterrupt())
        message = "interrupted: 10 of 12 rows are written; go on with --resume"
        with pytest.raises(KeyboardInterrupt, match=message):
            collect(ckpts, out=tmp_path / "bank")
    assert len(staged(tmp_path)) == 1
    return lambda: fail_at_shard(monkeypatch, 99, AssertionError())


def test_an_interrupted_collect_goes_on_with_its_shards(
    ckpts: Path, tmp_path: Path, interrupted: Callable[[], list[str]]
) -> None:
    written = interrupted()
    said = Said()
    bank = collect(ckpts, out=tmp_path / "bank", resume=True, progress=said)
    assert written == ["00002.safetensors"]
    assert not any("nothing to resume" in line for line in said)
    assert len(bank) == MEMBERS
    assert staged(tmp_path) == []
    assert tree(bank.path) == tree(collect(ckpts, out=tmp_path / "whole").path)
    assert not (bank.path / "progress.jsonl").exists()


def test_with_nothing_to_resume_it_starts_and_says_so(ckpts: Path, tmp_path: Path) -> None:
    said = Said()
    collect(ckpts, out=tmp_path / "bank", resume=True, progress=said)
    assert said[0] == f"{tmp_path}/bank: nothing to resume, collecting from the beginning"


def test_without_resume_it_starts_again(
    ckpts: Path, tmp_path: Path, interrupted: Callable[[], list[str]]
) -> None:
    written = interrupted()
    collect(ckpts, out=tmp_path / "bank")
    assert len(written) == 3
    assert staged(tmp_path) == []


def test_a_source_that_changed_is_read_again(
    ckpts: Path, tmp_path: Path, interrupted: Callable[[], list[str]]
) -> None:
    save_file(checkpoint(70), ckpts / "step-6.safetensors")
    written = interrupted()
    bank = collect(ckpts, out=tmp_path / "bank", resume=True)
    assert written == ["00001.safetensors", "00002.safetensors"]
    assert tree(bank.path) == tree(collect(ckpts, out=tmp_path / "whole").path)


def test_a_shard_that_is_damaged_is_written_again(
    ckpts: Path, tmp_path: Path, interrupted: Callable[[], list[str]]
) -> None:
    (folder,) = staged(tmp_path)
    with (folder / "shards" / "00000.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    written = interrupted()
    collect(ckpts, out=tmp_path / "bank", resume=True)
    assert written == ["00000.safetensors", "00002.safetensors"]


def test_another_selection_reuses_nothing(
    ckpts: Path, tmp_path: Path, interrupted: Callable[[], list[str]]
) -> None:
    options = {"exclude_globs": ["layer.bias"], "base": ckpts / "step-0.safetensors"}
    written = interrupted()
    bank = collect(ckpts, out=tmp_path / "bank", resume=True, **options)
    assert len(written) == 3
    assert tree(bank.path) == tree(collect(ckpts, out=tmp_path / "whole", **options).path)


def test_a_journal_cut_short_counts_up_to_the_cut(
    ckpts: Path, tmp_path: Path, interrupted: Callable[[], list[str]]
) -> None:
    (folder,) = staged(tmp_path)
    journal = folder / "progress.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    written = interrupted()
    bank = collect(ckpts, out=tmp_path / "bank", resume=True)
    assert written == ["00001.safetensors", "00002.safetensors"]
    assert len(bank) == MEMBERS


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]\n", b"{}\n{}\n"])
def test_a_journal_that_says_nothing_is_no_obstacle(
    ckpts: Path, tmp_path: Path, interrupted: Callable[[], list[str]], content: bytes
) -> None:
    (folder,) = staged(tmp_path)
    (folder / "progress.jsonl").write_bytes(content)
    written = interrupted()
    assert len(collect(ckpts, out=tmp_path / "bank", resume=True)) == MEMBERS
    assert len(written) == 3


def test_identical_members_are_written_once_in_whatever_shard_they_are(
    ckpts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(3):
        shutil.copy(ckpts / f"step-{index}.safetensors", ckpts / f"step-{12 + index}.safetensors")
    shutil.copy(ckpts / "step-5.safetensors", ckpts / "step-10.safetensors")
    written = fail_at_shard(monkeypatch, 99, AssertionError())
    bank = collect(ckpts, out=tmp_path / "bank")
    # 0-4, 5-9 are as they are; of 10-14 only 11 is new.
    assert written == ["00000.safetensors", "00001.safetensors", "00002.safetensors", "00002.safetensors"]
    assert [entry.rows for entry in bank.manifest.shards] == [5, 5, 1]
    assert [member.source for member in bank.members] == [
        f"step-{index}.safetensors" for index in (*range(10), 11)
    ]


def test_a_part_of_nothing_new_leaves_no_shard(ckpts: Path, tmp_path: Path) -> None:
    for index in range(4):
        shutil.copy(ckpts / f"step-{index}.safetensors", ckpts / f"step-{90 + index}.safetensors")
    bank = collect(ckpts, out=tmp_path / "bank")
    assert [entry.rows for entry in bank.manifest.shards] == [5, 5, 2]
    assert len(list((bank.path / "shards").iterdir())) == 3


def test_input_that_is_refused_leaves_nothing(
    ckpts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at_shard(monkeypatch, 2, InputError("x: bad"))
    with pytest.raises(InputError):
        collect(ckpts, out=tmp_path / "bank")
    assert [path.name for path in tmp_path.iterdir()] == ["ckpts"]


def test_a_full_disk_leaves_nothing(ckpts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at_shard(monkeypatch, 2, OSError(28, "No space left on device", "x"))
    with pytest.raises(OSError, match="No space left"):
        collect(ckpts, out=tmp_path / "bank")
    assert list(tmp_path.iterdir()) == [ckpts]


def test_what_was_put_in_the_way_meanwhile_stays_and_the_shards_too(
    ckpts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bank"
    with monkeypatch.context() as patch:
        finish = intake.finish_bank

        def slow(*arguments: Any, **options: Any) -> None:
            finish(*arguments, **options)
            out.mkdir()
            (out / "thesis.tex").write_text("precious")

        patch.setattr(intake, "finish_bank", slow)
        with pytest.raises(UsageError, match="not empty; it was put there meanwhile") as caught:
            collect(ckpts, out=out)
    (kept,) = tmp_path.glob(".bank.staged-*")
    expected = f"what was written is kept in {kept}: to use it, move {out} away and go on with --resume"
    assert str(caught.value).endswith(expected)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]
    out.rename(tmp_path / "away")
    written = fail_at_shard(monkeypatch, 99, AssertionError())
    assert len(collect(ckpts, out=out, resume=True)) == MEMBERS
    assert written == []


def test_of_two_that_collect_the_same_bank_the_second_leaves_nothing(
    ckpts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, finish = tmp_path / "bank", intake.finish_bank

    def slow(*arguments: Any, **options: Any) -> None:
        finish(*arguments, **options)
        with monkeypatch.context() as patch:
            patch.setattr(intake, "finish_bank", finish)
            collect(ckpts, out=out)

    monkeypatch.setattr(intake, "finish_bank", slow)
    with pytest.raises(UsageError, match="bank: another process finished it meanwhile"):
        collect(ckpts, out=out)
    assert len(Bank.open(out)) == MEMBERS
    assert sorted(tmp_path.iterdir()) == [out, ckpts]


def test_a_finished_bank_has_nothing_to_go_on_with(ckpts: Path, tmp_path: Path) -> None:
    bank = collect(ckpts, out=tmp_path / "bank")
    with pytest.raises(UsageError, match="bank: is finished, there is nothing to go on with; replace it"):
        collect(ckpts, out=bank.path, resume=True)
    assert len(collect(ckpts, out=bank.path, resume=True, overwrite=True)) == MEMBERS


def test_a_bank_is_not_collected(bank: Bank, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bank: is a bank; give the folder of checkpoints"):
        collect(bank.path, out=tmp_path / "other")


def kill_collect(folder: Path) -> None:
    shards._SHARD_ROWS = 4
    shutil.copy(folder / "ckpts" / "step-1.safetensors", folder / "ckpts" / "step-20.safetensors")
    in_child(lambda: collect(folder / "ckpts", out=folder / "whole"))
    expected = tree(folder / "whole")
    out = folder / "bank"
    steps = []
    for step in kills(lambda: collect(folder / "ckpts", out=out)):
        steps.append(step)
        if not (out / "bank.json").exists():
            assert not out.exists()
            in_child(lambda: collect(folder / "ckpts", out=out, resume=True))
        assert tree(out) == expected
        assert not list(folder.glob(".bank.*"))
        shutil.rmtree(out)
    assert steps == [
        *["mkdir", "mkdir", "unlink", "mkdir", "remove_stale", "mkdir"],
        *["write_shards", "write_file", "fsync", "fsync"],
        *["unlink", "fsync"],  # the shard whose only row is there already
        *["write_statistics", "digest_file", "write_checkpoint", "digest_file", "write_file"],
        *["unlink", "rename", "fsync"],  # the journal, then the exchange
    ], steps
    reused = json.loads((folder / "bank" / "bank.json").read_text())
    assert len(reused["shards"]) == 3


def test_wherever_it_is_killed_it_goes_on_to_the_same_bytes(ckpts: Path, tmp_path: Path) -> None:
    drive(kill_collect, tmp_path)


def test_the_resumed_bank_opens(ckpts: Path, tmp_path: Path, interrupted: Callable[[], list[str]]) -> None:
    collect(ckpts, out=tmp_path / "bank", resume=True)
    assert Bank.open(tmp_path / "bank").row(11).shape == (21,)
