"""What is drawn while a denoiser trains: a collapse ends the training, and the state before it is kept."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pdiff.common.config import Optimisation
from pdiff.training.health import Health, collapsed, distance_from_health, warnings
from pdiff.training.interruption import NEVER
from pdiff.training.trainer import Trainer
from tests.support import Said

MEMBERS = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
NOISE = torch.randn(500, 3, generator=torch.Generator().manual_seed(1))


class Scale(nn.Module):
    """Multiplies noise by a number that falls by a twelfth at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(1.0))

    def forward(self, noise: Tensor) -> Tensor:
        return self.factor * noise


def test_a_look_compares_samples_with_members() -> None:
    exact = Health(lambda _: NOISE, MEMBERS)
    assert exact.look(nn.Identity())["dispersion"] == pytest.approx(
        float((NOISE - NOISE.mean(0)).norm() / 500**0.5)
        / float((MEMBERS - MEMBERS.mean(0)).norm() / 40**0.5),
        rel=1e-5,
    )
    copies = Health(lambda _: MEMBERS + 1e-4, MEMBERS, held_out=lambda _: 0.25)
    found = copies.look(nn.Identity())
    assert found["nearest"] < 0.01
    assert found["dispersion"] == pytest.approx(1, abs=1e-3)
    assert found["held_out_loss"] == 0.25


def test_members_that_are_all_alike_are_no_collapse() -> None:
    look = Health(lambda _: torch.zeros(5, 3), torch.ones(1, 3)).look(nn.Identity())
    assert look == {"dispersion": 1, "nearest": 1}


def test_the_network_stays_in_the_mode_it_was_in() -> None:
    module = nn.BatchNorm1d(3).train()
    modes = []
    Health(lambda network: (modes.append(network.training), NOISE)[1], MEMBERS).look(module)
    assert (modes, module.training) == ([False], True)


@pytest.mark.parametrize(
    ("spread", "gone"),
    [([1.0, 0.9, 0.8], False), ([1.0, 0.5, 0.2], True), ([0.1, 0.2], False), ([0.9, math.nan], True)],
)
def test_a_collapse_is_a_spread_that_was_there(spread: list[float], gone: bool) -> None:
    looks = [{"dispersion": each} for each in spread]
    assert collapsed(looks) is gone
    assert distance_from_health({"dispersion": math.nan}) == math.inf


@pytest.mark.parametrize(
    ("dispersion", "nearest", "names"),
    [
        (1.0, 1.0, []),
        (0.4, 1.0, ["averages"]),
        (7.0, 5.0, ["degraded"]),
        (1.0, 0.1, ["near-copies"]),
        (0.5, 0.1, ["averages", "near-copies"]),
    ],
)
def test_each_warning_has_its_name_and_a_remedy(dispersion: float, nearest: float, names: list[str]) -> None:
    said = warnings({"dispersion": dispersion, "nearest": nearest})
    assert [each.partition(":")[0] for each in said] == names
    assert all("; " in each for each in said)


def test_a_collapse_ends_the_training_at_its_healthiest_state(tmp_path: Path) -> None:
    module, said = Scale(), Said()

    def loss(step: int) -> Iterator[Tensor]:
        yield module.factor * 20  # one way: down

    health = Health(lambda network: network(NOISE), MEMBERS)
    how = Optimisation(steps=60, batch_size=1, lr=0.02, weight_decay=0, schedule="constant")
    trainer = Trainer("denoiser", module, loss, how, tmp_path, health=health)
    trainer.run(said, NEVER)
    assert trainer.step < 60
    assert "collapses" in said[0]
    best = min(trainer.looks, key=distance_from_health)
    assert health.look(module)["dispersion"] == pytest.approx(best["dispersion"])
    assert best["dispersion"] > 0.6
    lines = [json.loads(line) for line in (tmp_path / "denoiser.metrics.jsonl").read_text().splitlines()]
    assert [line["dispersion"] for line in lines if "dispersion" in line] == [
        look["dispersion"] for look in trainer.looks
    ]
