"""Members that are independent networks are noticed by their weights, and said wherever it matters."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pdiff.bank import Bank, collect
from pdiff.bank.safety import doubts, unaligned
from pdiff.common.config import Config
from pdiff.generation.sample import generate
from pdiff.generators.train import train
from tests.support import Said
from tests.support import bank_of as of_rows
from tests.unit.evaluation.making import evaluate
from tests.unit.evaluation.waves import Residual, Waves

MEMBERS = 6


def network(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    state: dict[str, Tensor] = Residual().state_dict()
    return state


def moved(state: dict[str, Tensor], index: int, size: float = 0.05) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(index)
    return {
        name: tensor + size * torch.randn(tensor.shape, generator=generator)
        if tensor.is_floating_point() and "running_var" not in name
        else tensor
        for name, tensor in state.items()
    }


def bank_of(folder: Path, member: Callable[[int], dict[str, Tensor]], said: Said, **options: object) -> Bank:
    (folder / "ckpts").mkdir()
    for index in range(MEMBERS):
        save_file(member(index), folder / f"ckpts/{index}.safetensors")
    return collect(folder / "ckpts", out=folder / "bank", progress=said, **options)  # type: ignore[arg-type]


def fine_tuned(index: int) -> dict[str, Tensor]:
    return moved(network(0), index)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_independent_seeds_are_said_by_collect_and_train(tmp_path: Path, dtype: str) -> None:
    said = Said()
    bank = bank_of(tmp_path, network, said, store_dtype=dtype)
    warning = unaligned(bank)
    assert warning is not None
    assert warning.startswith("Unaligned weights: the members look like 6 independent runs, which have no")
    assert said[-1] == warning
    heard = Said()
    train(bank, out=tmp_path / "run", config=Config.preset("gaussian"), progress=heard)
    assert warning in heard


def test_several_runs_of_several_checkpoints_are_counted(tmp_path: Path) -> None:
    bank = bank_of(tmp_path, lambda index: moved(network(index % 2), index), Said())
    assert "look like 2 independent runs" in (unaligned(bank) or "")


@pytest.mark.parametrize(
    "member",
    [
        pytest.param(fine_tuned, id="one start"),
        pytest.param(lambda index: moved(network(0), 0, 0.02 * index), id="one way"),
        pytest.param(
            lambda index: network(0) | {"norm1.weight": network(index)["norm1.weight"] + index},
            id="norms alone",
        ),
        pytest.param(lambda index: {"w": torch.randn(2, 3) + index}, id="too few numbers to tell"),
    ],
)
def test_of_one_network_nothing_is_said(tmp_path: Path, member: Callable[[int], dict[str, Tensor]]) -> None:
    said = Said()
    assert unaligned(bank_of(tmp_path, member, said)) is None
    assert not any("Unaligned" in line for line in said)


def test_the_page_says_it_too(tmp_path: Path) -> None:
    bank = bank_of(tmp_path, network, Said())
    generated = generate(bank, config=Config.preset("gaussian"), n=4, out=tmp_path / "generated")
    results = evaluate(generated, task=Waves(), arch="residual", baselines_n=2, replicates=5)
    assert results["warnings"][0] == unaligned(bank)


@pytest.mark.parametrize(("members", "few"), [(9, True), (10, False)])
def test_few_members_are_said_to_be_too_few(tmp_path: Path, members: int, few: bool) -> None:
    bank = of_rows(torch.randn(members, 4, generator=torch.Generator().manual_seed(0)), tmp_path)
    said = "9 checkpoints: too few for `pdiff evaluate` to reach a verdict, which takes 10 or more"
    assert doubts(bank) == ([said] if few else [])
