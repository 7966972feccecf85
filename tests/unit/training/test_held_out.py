"""Held-out members: who they are, that nothing is learned from them, and where they are written down."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.config import Config
from pdiff.generation.generated import Generated
from pdiff.generation.sample import generate
from pdiff.generators.train import train
from pdiff.training import Run
from tests.support import TINY, bank_of

K = 30


@pytest.fixture
def rows() -> Tensor:
    return torch.randn(K, 64, generator=torch.Generator().manual_seed(0))


def trained(bank: Bank, out: Path, *settings: str, preset: str = "default", seed: int = 0) -> Run:
    return train(bank, out=out, config=Config.build(preset, settings=[*TINY, *settings], seed=seed))


def test_a_tenth_is_held_out_and_written_down(rows: Tensor, tmp_path: Path) -> None:
    bank = bank_of(rows, tmp_path)
    run = trained(bank, tmp_path / "run", seed=4)
    assert run.result.held_out == tuple(bank.split(0.1, 4)[1].indices.tolist())
    assert len(run.result.held_out) == 3
    assert Run.open(run.path).result.held_out == run.result.held_out
    assert generate(run, n=1, out=tmp_path / "generated").info.held_out == run.result.held_out
    assert Generated.open(tmp_path / "generated").info.held_out == run.result.held_out
    assert load_file(run.path / "latents.safetensors")["values"].shape == (K - 3, 4)
    assert trained(bank, tmp_path / "other", seed=5).result.held_out != run.result.held_out


@pytest.mark.parametrize("codec", ["conv", "pca", "token"])
def test_nothing_is_learned_from_them(rows: Tensor, tmp_path: Path, codec: str) -> None:
    trained_for = ["codec.train.steps=3"] if codec != "pca" else []
    settings = [f"codec.kind={codec}", *trained_for, "normalize=none", "held_out=0.2"]
    run = trained(bank_of(rows, tmp_path), tmp_path / "run", *settings)
    assert len(run.result.held_out) == 6
    rows[list(run.result.held_out)] *= -5
    (tmp_path / "changed").mkdir()
    again = trained(bank_of(rows, tmp_path / "changed"), tmp_path / "again", *settings)
    assert again.result.held_out == run.result.held_out
    # Principal components are centred over the whole bank first, so that last bits may differ.
    tolerance = {"rtol": 0.0, "atol": 0.0} if codec != "pca" else {"rtol": 1e-3, "atol": 1e-3}
    for file in ("codec", "latents"):
        expected, found = (load_file(each.path / f"{file}.safetensors") for each in (run, again))
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], **tolerance)


@pytest.mark.parametrize(
    ("members", "preset", "settings"),
    [(19, "default", ()), (K, "default", ("held_out=0",)), (K, "paper", ("codec.train.steps=1",))],
)
def test_small_banks_the_paper_and_who_says_so_hold_nothing_out(
    rows: Tensor, tmp_path: Path, members: int, preset: str, settings: tuple[str, ...]
) -> None:
    run = trained(bank_of(rows[:members], tmp_path), tmp_path / "run", *settings, preset=preset)
    assert run.result.held_out == ()
    assert load_file(run.path / "latents.safetensors")["values"].shape == (members, 4)
