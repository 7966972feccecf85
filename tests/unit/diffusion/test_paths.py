"""Paths and objectives against what they are defined to be."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from pdiff.common.config import Config, DiffusionConfig
from pdiff.common.errors import UsageError
from pdiff.common.torch_rng import Random
from pdiff.diffusion import Process
from pdiff.diffusion.objectives import Objective, loss, parts, target
from pdiff.diffusion.paths import (
    Line,
    Path,
    VariancePreserving,
    cosine_schedule,
    linear_schedule,
    without_signal_at_the_end,
)

CPU = torch.device("cpu")
OBJECTIVES: list[Objective] = ["noise", "data", "v", "velocity"]
PATHS: list[Path] = [
    Line(),
    VariancePreserving(linear_schedule(10, 1e-3, 2e-2)),
    VariancePreserving(cosine_schedule(10)),
]


def test_the_linear_schedule_multiplies_up() -> None:
    alpha_bar = linear_schedule(1000, 1e-4, 2e-2)
    product = 1.0
    for step in range(1000):
        product *= 1 - (1e-4 + step / 999 * (2e-2 - 1e-4))
    assert float(alpha_bar[-1]) == pytest.approx(product)


def test_the_cosine_schedule_is_the_squared_cosine_where_beta_is_not_clipped() -> None:
    alpha_bar = cosine_schedule(1000)
    expected = torch.cos((torch.tensor(0.5) + 0.008) / 1.008 * torch.pi / 2) ** 2
    start = torch.cos(torch.tensor(0.008) / 1.008 * torch.pi / 2) ** 2
    assert float(alpha_bar[499]) == pytest.approx(float(expected / start), rel=1e-5)
    assert float((1 - alpha_bar[1:] / alpha_bar[:-1]).max()) == pytest.approx(0.999)


def test_without_signal_at_the_end_the_first_step_stays() -> None:
    before = linear_schedule(100, 1e-4, 2e-2)
    after = without_signal_at_the_end(before)
    assert float(after[-1]) == 0
    assert float(after[0]) == pytest.approx(float(before[0]))
    assert bool((after[1:] < after[:-1]).all())


@pytest.mark.parametrize("path", PATHS)
def test_scales_go_from_data_to_noise(path: Path) -> None:
    alpha, sigma = path.scales(torch.linspace(0, 1, 31, dtype=torch.float64))
    assert (float(alpha[0]), float(sigma[0])) == (1, 0)
    assert bool((alpha[1:] < alpha[:-1]).all())
    assert bool((sigma[1:] > sigma[:-1]).all())


def test_diffusion_keeps_variance_one_and_stands_on_its_steps() -> None:
    alpha_bar = linear_schedule(10, 1e-3, 2e-2)
    alpha, sigma = VariancePreserving(alpha_bar).scales(torch.tensor([0.1, 0.35, 1.0], dtype=torch.float64))
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(alpha[[0, 2]], alpha_bar[[0, 9]].sqrt())
    torch.testing.assert_close(alpha[1], (alpha_bar[2].sqrt() + alpha_bar[3].sqrt()) / 2)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("steps", [1, 3, 10])
def test_times_lead_from_noise_to_data(path: Path, steps: int) -> None:
    times = path.times(steps)
    assert len(times) == steps + 1
    assert (times[0], times[-1]) == (1, 0)
    assert all(then < now for now, then in pairwise(times))


def test_times_of_a_diffusion_are_times_of_its_steps() -> None:
    path = PATHS[1]
    assert path.times(10) == [step / 10 for step in range(10, -1, -1)]
    assert path.times(4) == [1, 0.8, 0.5, 0.2, 0]  # of 1, 0.75, 0.5 and 0.25, as they are rounded
    with pytest.raises(UsageError, match="11 sampling steps of a diffusion in 10"):
        path.times(11)


def test_a_diffusion_is_trained_at_the_times_of_its_steps() -> None:
    drawn = PATHS[1].training_times(Random(0, "test", 0, CPU), 2000)
    assert sorted({round(each * 10, 5) for each in drawn.tolist()}) == list(range(1, 11))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("alpha", "sigma"), [(0.6, 0.8), (0.3, 0.7), (0.999, 0.03)])
def test_parts_are_those_that_the_target_was_made_of(
    objective: Objective, alpha: float, sigma: float
) -> None:
    clean, noise = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noisy = alpha * clean + sigma * noise
    found = parts(objective, target(objective, clean, noise, alpha, sigma), noisy, alpha, sigma)
    torch.testing.assert_close(found, (clean, noise))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("path", PATHS)
def test_the_loss_vanishes_for_the_perfect_prediction(objective: Objective, path: Path) -> None:
    """Data of 0 alone: the noise is then known from what is seen."""

    def perfect(noisy: Tensor, time: Tensor) -> Tensor:
        alpha, sigma = (scale.unsqueeze(1) for scale in path.scales(time))
        return target(objective, torch.zeros_like(noisy), noisy / sigma, alpha, sigma)

    assert loss(perfect, path, objective, torch.zeros(50, 3), Random(0, "test", 0, CPU)) < 1e-9
    wrong = loss(
        lambda noisy, time: 0 * noisy + 5, path, objective, torch.zeros(50, 3), Random(0, "t", 0, CPU)
    )
    assert wrong > 1


def test_predicting_noise_needs_some_signal_at_the_end() -> None:
    for setting in ("diffusion.zero_terminal_snr=true", "diffusion.schedule=line"):
        with pytest.raises(UsageError, match="objective noise says nothing"):
            Config.build("paper", settings=[setting])
    Process(DiffusionConfig("linear", "v", standardise=True, zero_terminal_snr=True))
