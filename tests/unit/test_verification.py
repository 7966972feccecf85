"""Verifying: every byte of a bank, a run and generated checkpoints is covered by a digest."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from safetensors.torch import load_file, save_file

from pdiff.bank import Bank, collect, shards
from pdiff.common.errors import InputError, UsageError
from pdiff.common.sealing import write_sealed
from pdiff.common.tensors import write_tensors
from pdiff.generation.card import CARD
from pdiff.generation.generated import Generated
from pdiff.generation.sample import generate
from pdiff.training import Run
from pdiff.verification import verify
from tests.support import MEMBERS, checkpoint

MakeRun = Callable[..., Run]


def flips(folder: Path, regions: int = 12) -> Iterator[Path]:
    """Flip a bit in each region of each file below `folder` but the model card, one at a time."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name == CARD:  # `evaluate` and people write it again
            continue
        content = path.read_bytes()
        for place in {int(index * (len(content) - 1) / (regions - 1)) for index in range(regions)}:
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            yield path
        path.write_bytes(content)


def test_a_bank_is_verified_whole(ckpts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_SHARD_ROWS", 5)
    bank = collect(ckpts, out=tmp_path / "bank")
    found = verify(bank.path)
    assert (found.kind, found.files, found.bad) == ("bank", 6, [])
    assert found.size == sum(path.stat().st_size for path in bank.path.rglob("*") if path.is_file())
    for path in flips(bank.path):
        (bad,) = verify(bank.path).bad
        assert path.name in bad
    assert verify(bank.path).bad == []


def test_what_is_missing_or_short_is_named(bank: Bank) -> None:
    (bank.path / "base.safetensors").unlink()
    shard = bank.path / "shards" / "00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-4])
    assert verify(bank.path).bad == [
        "base.safetensors: missing",
        "shards/00000.safetensors: its digest differs",
    ]


def test_a_run_is_verified_with_its_bank(make_run: MakeRun, ckpts: Path) -> None:
    run = make_run()
    found = verify(run.path)
    assert (found.kind, found.files, found.bad) == ("run", 6, [])
    for path in flips(run.path):
        assert any(path.name in bad for bad in verify(run.path).bad), path
    assert verify(run.path).bad == []
    save_file(checkpoint(40), ckpts / "step-40.safetensors")
    collect(ckpts, out=run.bank.path, extend=True)
    (bad,) = verify(run.path).bad
    assert "the bank has changed since" in bad


def test_an_unfinished_run_is_not_whole(make_run: MakeRun) -> None:
    run = make_run()
    (run.path / "result.json").unlink()
    assert verify(run.path).bad == ["result.json: missing; training has not finished"]


def test_generated_checkpoints_are_verified(make_run: MakeRun, tmp_path: Path) -> None:
    generated = generate(make_run(), n=3, out=tmp_path / "g")
    found = verify(generated.path)
    assert (found.kind, found.files, found.bad) == ("generated", 4, [])
    for path in flips(generated.path):
        (bad,) = verify(generated.path).bad
        assert path.name in bad
    (generated.path / generated.info.files[1]).unlink()
    assert verify(generated.path).bad == ["model-0001.safetensors: missing"]


def test_what_is_not_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"nothing that pdiff can verify .no bank.json, run.json, generated.json or exp"
    ):
        verify(tmp_path)


def test_a_shard_replaced_by_a_valid_one_is_noticed(bank: Bank) -> None:
    path = bank.path / "shards" / "00000.safetensors"
    rows = load_file(path)["rows"]
    assert len(rows) == MEMBERS
    write_tensors(path, {"rows": rows + 1})
    assert Bank.open(bank.path).dim == bank.dim  # opening looks at sizes only
    assert verify(bank.path).bad == ["shards/00000.safetensors: its digest differs"]


def test_generated_checkpoints_without_digests_are_damaged(make_run: MakeRun, tmp_path: Path) -> None:
    generated = generate(make_run(), n=2, out=tmp_path / "g")
    path = generated.path / "generated.json"
    write_sealed(path, msgspec.structs.replace(generated.info, digests={}))
    (bad,) = verify(generated.path).bad
    assert bad.endswith("damaged (no digest of model-0000.safetensors, model-0001.safetensors)")
    write_sealed(path, msgspec.structs.replace(generated.info, format=99))
    with pytest.raises(InputError, match="format 99, this version reads"):
        Generated.open(generated.path)
