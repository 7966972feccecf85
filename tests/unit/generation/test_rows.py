"""Generated models as rows of a bank: small, the same models, and files when they are asked for."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pdiff.bank import Bank, collect
from pdiff.common.config import Config
from pdiff.common.errors import InputError, UsageError
from pdiff.generation import formats
from pdiff.generation.extract import export
from pdiff.generation.generated import Generated
from pdiff.generation.sample import generate
from pdiff.training import Run
from pdiff.verification import verify
from tests.support import MEMBERS, checkpoint
from tests.unit.generation.test_formats import assert_same, run_of, write_sharded, write_tied

MakeRun = Callable[..., Run]


@pytest.mark.parametrize("n", [1, 2, 20])
def test_rows_are_the_models_that_files_hold(make_run: MakeRun, tmp_path: Path, n: int) -> None:
    run = make_run()
    files = generate(run, n=n, seed=3, out=tmp_path / "files")
    rows = generate(run, n=n, seed=3, out=tmp_path / "rows", format="rows")
    assert (len(rows), rows.info.files[0]) == (n, "model-0000")
    assert torch.equal(rows.rows(), files.rows())
    for index in range(n):
        assert_same(rows[index], files[index])
        assert torch.equal(rows.row(index), files.row(index))
        rows.check(index)
    assert rows.bank.digest == run.bank.digest
    assert rows.info.generator == files.info.generator
    assert verify(rows.path).kind == "generated"
    assert verify(rows.path).bad == []


def test_the_folder_is_a_bank(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    rows = generate(run, n=4, out=tmp_path / "rows", format="rows")
    bank = Bank.open(rows.path)
    assert (len(bank), bank.dim) == (4, run.bank.dim)
    assert [member.source for member in bank.members] == rows.info.files
    assert torch.equal(bank.batch(range(4)), rows.rows())
    mean = bank.statistics["element_mean"]
    assert mean.shape == (bank.dim,)
    again = generate(run, n=4, out=tmp_path / "files")
    collected = collect(again.path, out=tmp_path / "collected")
    assert [m.digest for m in collected.members] == [m.digest for m in bank.members]
    assert torch.equal(collected.statistics["element_std"], bank.statistics["element_std"])


def test_the_base_is_the_banks_own_file_where_links_are(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    original = run.bank.path / "base.safetensors"
    linked = generate(run, n=1, out=tmp_path / "linked", format="rows").path / "base.safetensors"
    assert original.samefile(linked)

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    copied = generate(run, n=1, out=tmp_path / "copied", format="rows").path / "base.safetensors"
    assert not original.samefile(copied)
    assert original.read_bytes() == copied.read_bytes()


def test_a_damaged_base_is_not_passed_on(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    save_file(checkpoint(99), run.bank.path / "base.safetensors")
    with pytest.raises(InputError, match="base.safetensors: damaged"):
        generate(run, n=1, out=tmp_path / "g", format="rows")
    assert not (tmp_path / "g").exists()


def test_many_rows_are_several_shards(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    monkeypatch.setattr(formats, "_SHARD_BYTES", 4 * run.bank.dim * 3)
    rows = generate(run, n=7, out=tmp_path / "rows", format="rows")
    assert len(list((rows.path / "shards").iterdir())) == 3
    assert torch.equal(rows.rows(), generate(run, n=7, out=tmp_path / "files").rows())


def test_a_changed_row_is_noticed(make_run: MakeRun, tmp_path: Path) -> None:
    rows = generate(make_run(), n=3, out=tmp_path / "rows", format="rows")
    shard = rows.path / "shards" / "00000.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.unlink()
    shard.write_bytes(content)
    assert verify(rows.path).bad == ["shards/00000.safetensors: its digest differs"]
    with pytest.raises(InputError, match="not what generate wrote"):
        Generated.open(rows.path).check(1)


def test_half_precision_is_rounded_as_in_files(tmp_path: Path) -> None:
    def write(folder: Path, index: int) -> None:
        values = torch.randn(5, generator=torch.Generator().manual_seed(index))
        save_file({"w": values.half(), "v": values.bfloat16()}, folder / f"{index}.safetensors")

    run = run_of(tmp_path, write)
    files, rows = (generate(run, n=2, out=tmp_path / f, format=f) for f in ("safetensors", "rows"))
    assert torch.equal(files.rows(), rows.rows())
    assert_same(files[1], rows[1])


def test_export_gives_the_bytes_that_generate_would_have_written(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    files = generate(run, n=12, seed=1, out=tmp_path / "files")
    rows = generate(run, n=12, seed=1, out=tmp_path / "rows", format="rows")
    written = export(rows.path, tmp_path / "out", members=[11, 2])
    assert [path.name for path in written] == ["model-0011.safetensors", "model-0002.safetensors"]
    for path in written:
        assert path.read_bytes() == (files.path / path.name).read_bytes()
    found = verify(tmp_path / "out")
    assert (found.kind, found.files, found.bad) == ("exported", 3, [])
    assert [p.read_bytes() for p in export(files, tmp_path / "again", members=[11, 2])] == [
        p.read_bytes() for p in written
    ]


def test_export_writes_members_of_a_bank(bank: Bank, tmp_path: Path) -> None:
    written = export(bank, tmp_path / "out")
    assert len(written) == MEMBERS
    for index, path in enumerate(written):
        state = load_file(path)
        expected = checkpoint(index)
        expected["bn.num_batches_tracked"] = state["bn.num_batches_tracked"]  # carried from the base
        assert_same(state, expected)
    assert collect(tmp_path / "out", out=tmp_path / "again").members[3].digest == bank.members[3].digest
    (pth,) = export(bank.path, tmp_path / "pth", members=[4], format="pth")
    assert_same(torch.load(pth, weights_only=True), load_file(written[4]))


@pytest.mark.parametrize("write", [write_sharded, write_tied])
def test_rows_lead_back_to_the_source_format(tmp_path: Path, write: Callable[[Path, int], None]) -> None:
    run = run_of(tmp_path, write)
    source = generate(run, n=2, out=tmp_path / "source", format="source")
    rows = generate(run, n=2, out=tmp_path / "rows", format="rows")
    assert verify(rows.path).bad == []
    export(rows, tmp_path / "out", format="source")
    for file in source.info.digests:
        assert (tmp_path / "out" / file).read_bytes() == (source.path / file).read_bytes()


@pytest.mark.parametrize(
    ("members", "message"),
    [([], "no members"), ([0, 0], "named twice"), ([12], "member 12 of 12 models; accepted: 0 to 11")],
)
def test_members_that_are_not_there_are_refused(
    bank: Bank, tmp_path: Path, members: list[int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        export(bank, tmp_path / "out", members=members)
    assert not (tmp_path / "out").exists()


def test_export_refuses_what_it_cannot_write_or_replace(bank: Bank, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown checkpoint format 'rows'"):
        export(bank, tmp_path / "out", format="rows")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="neither a bank nor generated checkpoints"):
        export(tmp_path, tmp_path / "out")
    export(bank, tmp_path / "out", members=[0])
    with pytest.raises(UsageError, match="not empty; replace it with --overwrite"):
        export(bank, tmp_path / "out")
    assert len(export(bank, tmp_path / "out", members=[1, 2], overwrite=True)) == 2


def test_settings_of_the_default_preset_reach_the_rows_card(make_run: MakeRun, tmp_path: Path) -> None:
    rows = generate(make_run(), n=1, out=tmp_path / "rows", format="rows")
    assert "--n 1 --seed 0 --format rows --out" in (rows.path / "README.md").read_text()
    assert rows.info.generator.config == Config.from_values(rows.info.generator.config).values()
