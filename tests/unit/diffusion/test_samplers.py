"""The samplers where the answer is known: a Gaussian, whose optimal denoiser has a closed form."""

import pytest
import torch
from torch import Tensor

from pdiff.diffusion.process import ddpm_states, flow_states, last, linear_schedule

MEAN = torch.tensor([1.5, -0.5], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
IDENTITY = torch.eye(2, dtype=torch.float64)
SAMPLES = 40_000


def normal(seed: int = 0) -> Tensor:
    return torch.randn(SAMPLES, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def assert_is_the_gaussian(samples: Tensor, tolerance: float) -> None:
    assert (samples.mean(dim=0) - MEAN).abs().max() < tolerance
    assert (torch.cov(samples.T) - COVARIANCE).abs().max() < tolerance


def test_ddpm_with_the_exact_denoiser_gives_mean_and_covariance_back() -> None:
    schedule = linear_schedule(250, 4e-4, 8e-2)
    generator = torch.Generator().manual_seed(1)

    def exact(latents: Tensor, time: Tensor) -> Tensor:
        alpha_bar = schedule.alpha_bar[round(float(time[0]) * 250) - 1]
        precision = torch.linalg.inv(alpha_bar * COVARIANCE + (1 - alpha_bar) * IDENTITY)
        return (1 - alpha_bar).sqrt() * (latents - alpha_bar.sqrt() * MEAN) @ precision

    samples = last(
        ddpm_states(
            exact,
            schedule,
            normal(),
            lambda: torch.randn(SAMPLES, 2, dtype=torch.float64, generator=generator),
        )
    )
    assert_is_the_gaussian(samples, tolerance=0.02)


def test_ddpm_visits_every_timestep_once_and_draws_noise_on_all_but_the_last() -> None:
    schedule = linear_schedule(7, 1e-2, 2e-1)
    times: list[float] = []
    draws = 0

    def denoiser(latents: Tensor, time: Tensor) -> Tensor:
        times.append(float(time[0]))
        return torch.zeros_like(latents)

    def noise() -> Tensor:
        nonlocal draws
        draws += 1
        return torch.zeros(3, 2)

    samples = last(ddpm_states(denoiser, schedule, torch.ones(3, 2), noise))
    assert times == pytest.approx([t / 7 for t in range(7, 0, -1)])
    assert draws == 6
    # Without noise and with ε = 0 each step divides by √(1 − β_t).
    assert samples == pytest.approx(torch.full((3, 2), float(schedule.alpha_bar[-1] ** -0.5)))


def test_flow_with_the_exact_velocity_gives_mean_and_covariance_back() -> None:
    def exact(latents: Tensor, time: Tensor) -> Tensor:
        s = float(time[0])
        precision = torch.linalg.inv((1 - s) ** 2 * IDENTITY + s**2 * COVARIANCE)
        scaled = (latents - s * MEAN) @ precision
        return MEAN + s * scaled @ COVARIANCE - (1 - s) * scaled

    assert_is_the_gaussian(last(flow_states(exact, 50, normal())), tolerance=0.02)


def test_flow_is_exact_on_a_constant_velocity() -> None:
    velocity = torch.tensor([2.0, -1.0])
    samples = last(flow_states(lambda z, _: velocity.expand_as(z), 3, torch.zeros(4, 2)))
    assert samples == pytest.approx(velocity.expand(4, 2))
