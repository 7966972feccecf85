"""Planted generators on a bank of real networks: each gets the verdict and the findings that it deserves."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from pdiff.bank import Bank, collect
from pdiff.generation.generated import Generated
from pdiff.tasks.base import Split
from pdiff.tasks.mnist1d import Mnist1D
from pdiff.zoo import build_zoo
from tests.unit.evaluation.making import average, evaluate, gaussian

MEMBERS, PLANTED, EPOCHS = 40, 6, 3
FEW: dict[Split, int] = {"train": 8000, "validation": 1000, "test": 3000}


class Small(Mnist1D):
    """MNIST-1D with fewer samples."""

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        inputs, labels = super().data(split)
        return inputs[: FEW[split]], labels[: FEW[split]]


@dataclass(frozen=True)
class Nets:
    """Networks to plant."""

    bank: Bank
    """One trajectory."""
    independent: Tensor
    """F32 [PLANTED, D], trained from scratch each."""
    cache: Path
    """Predictions, so that members and baselines are run once for all tests."""


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Nets:
    folder = tmp_path_factory.mktemp("planted")
    common: dict[str, Any] = {"task_name": "mnist1d", "options": {}, "arch": "convnet", "epochs": EPOCHS}
    build_zoo(Small(), out=folder / "ckpts", k=MEMBERS, **common)
    build_zoo(Small(), out=folder / "others", k=1, runs=PLANTED, seed=1, **common)
    others = collect(folder / "others", out=folder / "others-bank")
    return Nets(
        collect(folder / "ckpts", out=folder / "bank"),
        others.batch(range(PLANTED)),
        folder / "cache",
    )


Evaluate = Callable[[Tensor], dict[str, Any]]


@pytest.fixture
def evaluated(nets: Nets, save_generated: Callable[..., Generated]) -> Evaluate:
    """Evaluate rows [N, D] as if a generator had made them."""

    def found(rows: Tensor, **options: Any) -> dict[str, Any]:
        generated = save_generated(nets.bank, rows)
        return evaluate(
            generated, task=Small(), arch="convnet", baselines_n=8, replicates=40, cache=nets.cache, **options
        )

    return found


def kinds(results: dict[str, Any]) -> set[str]:
    return {found["kind"] for found in results["verdict"]["findings"]}


def test_copies(nets: Nets, evaluated: Evaluate) -> None:
    results = evaluated(nets.bank.batch(range(0, MEMBERS, 7)))
    assert results["verdict"]["at_max_similarity"]["position"] == "below"
    assert results["verdict"]["at_gg"]["position"] == "on"
    assert kinds(results) == {"copies"}


def test_averages(nets: Nets, evaluated: Evaluate) -> None:
    results = evaluated(average(nets.bank, range(PLANTED), members=16, seed=99))
    assert results["verdict"]["position"] == "on"
    assert kinds(results) == {"averages", "concentrated"}


def test_gaussian_draws(nets: Nets, evaluated: Evaluate) -> None:
    results = evaluated(gaussian(nets.bank, range(PLANTED), scale=1.0, seed=99))
    assert results["verdict"]["position"] == "on"
    assert kinds(results) == {"concentrated"}, "in directions that do not matter to the network"


def test_damaged_members(nets: Nets, evaluated: Evaluate) -> None:
    """Members moved a little toward networks of another basin."""
    rows = 0.85 * nets.bank.batch(range(0, MEMBERS, 7)) + 0.15 * nets.independent
    results = evaluated(rows)
    assert results["verdict"]["position"] == "below"
    assert kinds(results) == {"damaged", "concentrated"}


def test_a_cloud_moved_away_as_a_whole(nets: Nets, evaluated: Evaluate) -> None:
    """One network from elsewhere, and the bank's own spread around it."""
    mean = nets.bank.batch(range(MEMBERS)).mean(dim=0)
    rows = nets.independent[-1] + nets.bank.batch(range(0, MEMBERS, 7)) - mean
    results = evaluated(rows)
    assert results["verdict"]["at_max_similarity"]["position"] == "above"
    assert results["verdict"]["at_gg"]["position"] == "below"
    assert results["verdict"]["position"] == "below"
    (finding,) = (f for f in results["verdict"]["findings"] if f["kind"] == "concentrated")
    assert finding["sentence"].endswith("the cloud has moved away as a whole.")


def test_truly_new_models(nets: Nets, evaluated: Evaluate) -> None:
    results = evaluated(nets.independent)
    assert results["verdict"]["position"] == "above"
    assert kinds(results) == {"another"}
