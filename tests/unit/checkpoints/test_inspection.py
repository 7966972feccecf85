"""What an inspection reports, as JSON, to the last value on small folders."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from pdiff import _core
from pdiff.checkpoints import Choice, inspect
from pdiff.common.errors import InputError
from pdiff.common.sealing import write_sealed
from tests.support import MEMBERS, checkpoint


def test_a_folder_of_one_kind_to_the_last_value(tmp_path: Path) -> None:
    for index in range(3):
        state = {
            "fc.10": torch.full((2, 3), float(index)),
            "fc.9": torch.ones(4).half(),
            "steps": torch.tensor(index),
        }
        save_file(state, tmp_path / f"{index}.safetensors", {"accuracy": f"0.{index + 1}", "by": "me"})
    (tmp_path / "optimizer.pt").write_bytes(b"x")
    (tmp_path / "empty.pt").touch()
    size = sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    tensor = {"tied_to": None, "sampled": False}
    assert msgspec.to_builtins(inspect([tmp_path])) == {
        "checkpoints": 3,
        "kinds": [
            {
                "checkpoints": 3,
                "bytes": size,
                "example": "0.safetensors",
                "difference": None,
                "format": "safetensors",
                "shape": "file",
                "files": 1,
                "parameters": 10,
                "numbers": 11,
                "varying": 6,
                "compared": "samples",
                "keys": {"": 3},
                "together": [],
                "passed_over": [],
                "averaged": 0,
                "dictionaries": [{"key": "", "tensors": 3, "numbers": 11}],
                "prefixes": {},
                "left_out": [],
                "adapter": {},
                "metrics": {"accuracy": {"checkpoints": 3, "low": 0.1, "high": 0.3}},
                "tensors": [
                    {"name": "fc.9", "dtype": "F16", "shape": (4,), "numbers": 4, "varies": False, **tensor},
                    {
                        "name": "fc.10",
                        "dtype": "F32",
                        "shape": (2, 3),
                        "numbers": 6,
                        "varies": True,
                        **tensor,
                    },
                    {"name": "steps", "dtype": "I64", "shape": (), "numbers": 1, "varies": True, **tensor},
                ],
            }
        ],
        "banks": [],
        "base": "",
        "skipped": [{"name": "optimizer.pt", "why": "not weights by its name"}],
        "refused": [{"name": "empty.pt", "why": "empty"}],
    }


def test_of_a_single_checkpoint_nothing_is_known_to_vary(tmp_path: Path) -> None:
    save_file(checkpoint(0), tmp_path / "x.safetensors")
    (kind,) = inspect([tmp_path / "x.safetensors"]).kinds
    assert kind.varying is None
    assert kind.compared == "one checkpoint, nothing to compare it with"
    assert {tensor.varies for tensor in kind.tensors} == {None}


def test_only_a_deep_look_sees_a_change_between_the_samples(tmp_path: Path) -> None:
    for index in range(2):
        weights = torch.zeros(100_000)
        weights[20_000] = index
        save_file({"a": weights}, tmp_path / f"{index}.safetensors")
    (sampled,) = inspect([tmp_path]).kinds
    (deep,) = inspect([tmp_path], deep=True).kinds
    assert (sampled.compared, sampled.varying) == ("samples", 0)
    assert (deep.compared, deep.varying) == ("bytes", 100_000)


def test_many_checkpoints_are_compared_in_parts(tmp_path: Path) -> None:
    for index in range(130):
        state = {"late": torch.tensor([float(index == 129)]), "never": torch.ones(1)}
        save_file(state, tmp_path / f"{index}.safetensors")
    (kind,) = inspect([tmp_path]).kinds
    assert {tensor.name: tensor.varies for tensor in kind.tensors} == {"late": True, "never": False}


def test_kinds_are_apart_and_the_largest_comes_first(ckpts: Path) -> None:
    save_file({"a": torch.ones(2)}, ckpts / "a.safetensors")
    kinds = inspect([ckpts]).kinds
    assert [(kind.checkpoints, kind.example, kind.difference) for kind in kinds] == [
        (MEMBERS, "step-0.safetensors", None),
        (1, "a.safetensors", "lacks bn.num_batches_tracked"),
    ]


def test_files_that_change_meanwhile_leave_the_comparison_unknown(
    ckpts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*_: object, **__: object) -> list[bool]:
        raise InputError("step-1.safetensors: changed while it was read")

    monkeypatch.setattr(_core, "varying_tensors", changed)
    (kind,) = inspect([ckpts]).kinds
    assert kind.compared == "not compared (step-1.safetensors: changed while it was read)"
    assert (kind.varying, {tensor.varies for tensor in kind.tensors}) == (None, {None})


def test_a_training_checkpoint_says_where_its_weights_are_and_what_else_there_is(tmp_path: Path) -> None:
    for index in range(2):
        state = {f"module.{name}": tensor for name, tensor in checkpoint(index).items()}
        content = {
            "state_dict": state,
            "model_ema": state,
            "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}},
            "epoch": index,
            "loss": float("nan"),
        }
        torch.save(content, tmp_path / f"{index}.pth")
    (kind,) = inspect([tmp_path]).kinds
    assert (kind.format, kind.keys, kind.prefixes) == ("torch", {"model_ema": 2}, {"module.": 6})
    assert {d.key: (d.tensors, d.numbers) for d in kind.dictionaries}["state_dict"] == (6, 28)
    assert list(kind.metrics) == ["epoch"]
    assert [tensor.name for tensor in kind.tensors] == list(checkpoint(0))


def test_tied_tensors_count_once(tmp_path: Path) -> None:
    weight = torch.ones(3, 2)
    torch.save({"embed": weight, "head": weight, "bias": torch.ones(3)}, tmp_path / "x.pt")
    (kind,) = inspect([tmp_path]).kinds
    assert (kind.parameters, kind.numbers) == (9, 9)
    assert {t.name: t.tied_to for t in kind.tensors} == {"embed": None, "head": "embed", "bias": None}


BANK = json.loads(
    '{"format": 7, "dim": 14, "fingerprint": "f", "layout": ['
    '{"name": "a", "dtype": "F32", "shape": [2, 3]}, {"name": "b", "dtype": "BF16", "shape": [8]}],'
    '"shards": [{"file": "shards/00000.safetensors", "rows": 2, "digest": "d"}],'
    '"members": [{"source": "x", "metrics": {"accuracy": 0.5}}, {"source": "y", "digest": "e"}],'
    '"task": {"task": "digits", "arch": "mlp", "options": {}}, "new": [1]}'
)


def test_a_bank_is_reported_from_its_manifest(tmp_path: Path) -> None:
    write_sealed(tmp_path / "bank.json", BANK)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "00000.safetensors").write_bytes(b"x" * 100)
    inspection = inspect([tmp_path])
    (bank,) = inspection.banks
    assert (bank.members, bank.dim, bank.shards, bank.format) == (2, 14, 1, 7)
    assert bank.bytes == 100 + (tmp_path / "bank.json").stat().st_size
    assert [(t.name, t.numbers) for t in bank.tensors] == [("a", 6), ("b", 8)]
    assert (bank.metrics["accuracy"].checkpoints, bank.task["task"]) == (1, "digits")  # type: ignore[index]
    assert inspection.kinds == []
    content = (tmp_path / "bank.json").read_text()
    (tmp_path / "bank.json").write_text(content.replace("0.5", "0.6"))
    with pytest.raises(InputError, match=r"bank.json: damaged .its checksum differs"):
        inspect([tmp_path])


@pytest.mark.parametrize("content", ["{}", "[", '{"format": "x"}', "\xff"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "bank.json").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"bank.json: damaged"):
        inspect([tmp_path])


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        inspect([tmp_path / "nowhere"])


@pytest.mark.parametrize("deep", [False, True])
def test_tied_tensors_are_compared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deep: bool) -> None:
    for index in range(2):
        weight = torch.full((3, 2), float(index))
        torch.save({"embed": weight, "head": weight, "bias": torch.ones(3)}, tmp_path / f"{index}.pt")
    asked = []
    real = _core.varying_tensors

    def spy(origins: Any, names: list[str], **how: bool) -> list[bool]:
        asked.append((names, how))
        return real(origins, names, **how)

    monkeypatch.setattr(_core, "varying_tensors", spy)
    (kind,) = inspect([tmp_path], deep=deep).kinds
    assert asked == [(["embed", "bias"], {"sample": not deep, "checksums": not deep})]
    assert {t.name: t.varies for t in kind.tensors} == {"embed": True, "head": True, "bias": False}


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    save_file({}, tmp_path / "x.safetensors")
    found = inspect([tmp_path])
    assert found.checkpoints == 0
    assert [(each.name, each.why) for each in found.refused] == [
        ("x.safetensors", "no weights found: it holds no tensors")
    ]


def test_averaged_weights_are_counted(tmp_path: Path) -> None:
    for index in range(4):
        state = {"state_dict": {"w": torch.ones(2)}} | ({"ema": {"w": torch.ones(2)}} if index else {})
        torch.save(state, tmp_path / f"{index}.pt")
    assert [kind.averaged for kind in inspect([tmp_path]).kinds] == [3]
    assert [kind.averaged for kind in inspect([tmp_path], Choice(ema=False)).kinds] == [0]
