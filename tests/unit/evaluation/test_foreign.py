"""Anybody's checkpoints beside a bank: copies, noise, independent networks, and what does not fit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pdiff.bank import Bank
from pdiff.common.errors import InputError, UsageError
from tests.unit.evaluation.making import evaluate
from tests.unit.evaluation.waves import MEMBERS, Residual, Waves

QUICK: dict[str, Any] = {"arch": "residual", "baselines_n": 4, "replicates": 20}


def saved(folder: Path, states: list[dict[str, Tensor]], *, torch_files: bool = False) -> Path:
    folder.mkdir()
    for index, state in enumerate(states):
        if torch_files:
            torch.save({"state_dict": state, "epoch": index}, folder / f"net-{index}.pth")
        else:
            save_file(state, folder / f"net-{index}.safetensors")
    return folder


def states(bank: Bank, rows: Tensor) -> list[dict[str, Tensor]]:
    return [bank.state_dict(row) for row in rows]


def kinds(results: dict[str, Any]) -> set[str]:
    return {found["kind"] for found in results["verdict"]["findings"]}


@pytest.mark.parametrize("torch_files", [False, True])
def test_copies_are_found_out(whole_bank: Bank, task: Waves, tmp_path: Path, torch_files: bool) -> None:
    states_ = states(whole_bank, whole_bank.batch(range(MEMBERS)))
    folder = saved(tmp_path / "rpg", states_, torch_files=torch_files)
    results = evaluate(folder, bank=whole_bank, task=task, **QUICK)
    assert results["name"] == "rpg"
    assert results["generated"]["best"]["file"].startswith(str(folder))
    for part in ("n", "score"):
        assert results["generated"][part] == results["original"][part]
    assert "copies" in kinds(results)
    assert results["verdict"]["position"] != "above"
    cost = results["cost"]
    assert (cost["once_s"], cost["per_model_s"], cost["gradient_evaluations"]) == (None, None, None)
    assert [(run["seed"], run["preset"], run["models"]["n"]) for run in results["runs"]] == [
        (None, "", MEMBERS)
    ]
    assert set(results["plots"]["missing"]) == {"training", "reverse"}


def test_members_with_noise_lie_beside_them(whole_bank: Bank, task: Waves, tmp_path: Path) -> None:
    rows = whole_bank.batch(range(MEMBERS))
    generator = torch.Generator().manual_seed(0)
    noisy = rows + 1e-3 * rows.abs() * torch.randn(rows.shape, generator=generator)
    folder = saved(tmp_path / "noisy", states(whole_bank, noisy))
    results = evaluate(folder, bank=whole_bank, task=task, name="noise", **QUICK)
    novelty = results["novelty"]
    assert results["name"] == "noise"
    assert "copies" in kinds(results)
    assert 0 < novelty["l2_nearest"]["mean"] < 0.1 * novelty["l2_nearest_original"]["mean"]


def test_an_independent_network_is_no_copy(whole_bank: Bank, task: Waves, tmp_path: Path) -> None:
    independent = []
    for seed in range(5):
        torch.manual_seed(100 + seed)
        network = Residual()
        with torch.no_grad():
            network(task.data("train")[0])
        network.norm1.num_batches_tracked += seed  # a counter may be another
        independent.append(network.state_dict())
    folder = saved(tmp_path / "scratch", independent)
    results = evaluate(folder, bank=whole_bank, task=task, gradient_evaluations=20, **QUICK)
    assert "copies" not in kinds(results)
    assert "another" in kinds(results)
    assert results["novelty"]["cosine"] < 0.5
    assert results["novelty"]["l2_nearest"]["mean"] > 0.5 * results["novelty"]["l2_nearest_original"]["mean"]
    assert (results["data_access"]["kind"], results["cost"]["gradient_evaluations"]) == ("gradients", 20)
    assert {b["access"] for b in results["baselines"]} == {"weights", "gradients"}


def test_several_folders_are_runs(whole_bank: Bank, task: Waves, tmp_path: Path) -> None:
    folders = [
        saved(tmp_path / name, states(whole_bank, whole_bank.batch(some)))
        for name, some in (("a", [0, 1]), ("b", [2, 3, 4]))
    ]
    results = evaluate(folders, bank=whole_bank.path, task=task, **QUICK)
    assert [run["models"]["n"] for run in results["runs"]] == [2, 3]
    assert results["generated"]["n"] == 5
    with pytest.raises(UsageError, match="the same models as .*; name each only once"):
        evaluate([folders[0], folders[0]], bank=whole_bank, task=task, **QUICK)


def test_a_file_may_hold_the_subset_alone(norm_bank: Bank, task: Waves, tmp_path: Path) -> None:
    rows = norm_bank.batch([0, 3])
    folder = saved(tmp_path / "subset", [norm_bank.subset(row) for row in rows])
    results = evaluate(folder, bank=norm_bank, task=task, **QUICK)
    assert results["novelty"]["l2_nearest_raw"] == {"mean": 0, "min": 0}


def test_what_does_not_fit_is_named(norm_bank: Bank, network: nn.Module, tmp_path: Path) -> None:
    plain = norm_bank.state_dict(norm_bank.batch([0])[0])
    odd = {name: tensor.clone() for name, tensor in plain.items()}
    changes: dict[str, tuple[dict[str, Tensor], str]] = {
        "other": (
            odd | {"conv1.bias": odd["conv1.bias"] + 1},
            "conv1.bias is not the bank's, and the bank's",
        ),
        "lacking": ({n: t for n, t in odd.items() if n != "norm2.bias"}, "lacks norm2.bias"),
        "more": (odd | {"extra": torch.ones(2)}, "holds extra, which the bank's network has not"),
        "shape": (odd | {"norm2.bias": torch.ones(5)}, r"holds norm2.bias as F32 \[5\], not F32 \[4\]"),
        "nan": (odd | {"norm2.bias": torch.full((4,), torch.nan)}, "norm2.bias"),
    }
    for name, (state, reason) in changes.items():
        folder = saved(tmp_path / name, [plain, state])
        with pytest.raises(InputError, match=f"net-1.*{reason}"):
            evaluate(folder, bank=norm_bank, task=Waves(), **QUICK)


def test_a_bank_has_to_be_named(norm_bank: Bank, tmp_path: Path) -> None:
    folder = saved(tmp_path / "others", states(norm_bank, norm_bank.batch([0])))
    with pytest.raises(UsageError, match=r"not written by `pdiff generate`; say of which bank .*--bank BANK"):
        evaluate(folder, task=Waves())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no checkpoint"):
        evaluate(tmp_path / "empty", bank=norm_bank, task=Waves())


def test_of_averaged_and_plain_files_of_one_step_one_is_judged(
    whole_bank: Bank, task: Waves, tmp_path: Path
) -> None:
    rows = whole_bank.batch(range(3))
    folder = saved(tmp_path / "theirs", states(whole_bank, rows))
    for index, row in enumerate(whole_bank.batch(range(3, 6))):
        save_file(whole_bank.state_dict(row), folder / f"net-{index}-ema.safetensors")
    results = evaluate(folder, bank=whole_bank, task=task, **QUICK)
    assert results["generated"]["n"] == 3
    ranks = saved(tmp_path / "ranks", [])
    for index, row in enumerate(rows):
        for rank in range(2):
            save_file(whole_bank.state_dict(row + rank), ranks / f"step-{index}-rank{rank}.safetensors")
    with pytest.raises(InputError, match=r"ranks: 3 steps in several files each \(rank0, rank1\)"):
        evaluate(ranks, bank=whole_bank, task=task, **QUICK)
