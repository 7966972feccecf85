"""From noise to latents: pure functions over a denoiser, all randomness passed in.

Each is an iterator over the states on the way: the noise it starts from, then one state a step, of which the
last are the latents.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pdiff.diffusion.objective import Denoiser
from pdiff.diffusion.schedule import Schedule

__all__ = ["ddpm_sample", "ddpm_states", "flow_sample", "flow_states", "last"]


def ddpm_states(
    denoiser: Denoiser, schedule: Schedule, start: Tensor, noise: Callable[[], Tensor]
) -> Iterator[Tensor]:
    """Run the ancestral reverse process (Ho et al. 2020, algorithm 2) and yield z_T, …, z_0: T + 1 states.

    `start` [B, Z] is standard normal, and so is each [B, Z] that `noise` returns, T − 1 times. The step's
    variance is that of the posterior, β̃_t. Nothing is clamped: weights have no bounds.
    """
    latents = start
    yield latents
    for index in range(schedule.timesteps - 1, -1, -1):
        beta, alpha_bar = float(schedule.beta[index]), float(schedule.alpha_bar[index])
        time = torch.full((len(latents),), (index + 1) / schedule.timesteps).to(latents)
        predicted = denoiser(latents, time)
        latents = (latents - beta / (1 - alpha_bar) ** 0.5 * predicted) / (1 - beta) ** 0.5
        if index > 0:
            variance = beta * (1 - float(schedule.alpha_bar[index - 1])) / (1 - alpha_bar)
            latents = latents + variance**0.5 * noise()
        yield latents


def flow_states(denoiser: Denoiser, steps: int, start: Tensor) -> Iterator[Tensor]:
    """Integrate dz/ds = v(z, s) from s = 0 to 1 with `steps` midpoint steps; yield z at both ends of each.

    `start` [B, Z] is noise.
    """
    latents, width = start, 1 / steps
    yield latents
    for step in range(steps):
        time = torch.full((len(latents),), step * width).to(latents)
        half = latents + width / 2 * denoiser(latents, time)
        latents = latents + width * denoiser(half, time + width / 2)
        yield latents


def ddpm_sample(denoiser: Denoiser, schedule: Schedule, start: Tensor, noise: Callable[[], Tensor]) -> Tensor:
    """Return the latents [B, Z] that the reverse process of `ddpm_states` ends in."""
    return last(ddpm_states(denoiser, schedule, start, noise))


def flow_sample(denoiser: Denoiser, steps: int, start: Tensor) -> Tensor:
    """Return the latents [B, Z] that the integration of `flow_states` ends in."""
    return last(flow_states(denoiser, steps, start))


def last(states: Iterator[Tensor]) -> Tensor:
    """Return the last of the states, keeping one at a time."""
    latents = next(states)
    for latents in states:  # noqa: B007 (what it ends with is what is wanted)
        pass
    return latents
