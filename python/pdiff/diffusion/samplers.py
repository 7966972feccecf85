"""From noise to latents: pure functions over a denoiser, all randomness passed in."""

from collections.abc import Callable

import torch
from torch import Tensor

from pdiff.diffusion.objective import Denoiser
from pdiff.diffusion.schedule import Schedule

__all__ = ["ddpm_sample", "flow_sample"]


def ddpm_sample(denoiser: Denoiser, schedule: Schedule, start: Tensor, noise: Callable[[], Tensor]) -> Tensor:
    """Run the ancestral reverse process (Ho et al. 2020, algorithm 2) from t = T to t = 1.

    `start` [B, Z] is standard normal, and so is each [B, Z] that `noise` returns, T − 1 times. The step's
    variance is that of the posterior, β̃_t. Nothing is clamped: weights have no bounds.
    """
    latents = start
    for index in range(schedule.timesteps - 1, -1, -1):
        beta, alpha_bar = float(schedule.beta[index]), float(schedule.alpha_bar[index])
        time = torch.full((len(latents),), (index + 1) / schedule.timesteps).to(latents)
        predicted = denoiser(latents, time)
        latents = (latents - beta / (1 - alpha_bar) ** 0.5 * predicted) / (1 - beta) ** 0.5
        if index > 0:
            variance = beta * (1 - float(schedule.alpha_bar[index - 1])) / (1 - alpha_bar)
            latents = latents + variance**0.5 * noise()
    return latents


def flow_sample(denoiser: Denoiser, steps: int, start: Tensor) -> Tensor:
    """Integrate dz/ds = v(z, s) from s = 0 (`start` [B, Z], noise) to s = 1 with `steps` midpoint steps."""
    latents, width = start, 1 / steps
    for step in range(steps):
        time = torch.full((len(latents),), step * width).to(latents)
        half = latents + width / 2 * denoiser(latents, time)
        latents = latents + width * denoiser(half, time + width / 2)
    return latents
