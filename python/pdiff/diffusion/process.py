"""Define two processes over latents, denoising diffusion and flow matching: a loss and a sampler each.

Losses and samplers are pure functions over a denoiser, all randomness passed in. A sampler iterates over the
states on the way: the noise it starts from, then one state a step, of which the last are the latents.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pdiff.common.config import DiffusionConfig
from pdiff.common.rng import Random

Noise = Callable[[], Tensor]
"""→ standard normals [N, Z], new ones each time."""
Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(noisy latents [B, Z], times [B], or [1] for all, in [0, 1]) → prediction [B, Z]."""


@dataclass(frozen=True)
class Schedule:
    """Variances of the forward process (Ho et al. 2020, section 2): f64, index t − 1 for step t = 1 … T."""

    beta: Tensor
    """β_t [T]: the variance that step t adds."""
    alpha_bar: Tensor
    """ᾱ_t [T]: the share of the signal's variance that is left after step t."""

    @property
    def timesteps(self) -> int:
        """T."""
        return len(self.beta)

    def on(self, device: torch.device) -> "Schedule":
        """Return the schedule on `device`; itself if it is there."""
        if self.beta.device == device:
            return self
        return Schedule(self.beta.to(device), self.alpha_bar.to(device))


def linear_schedule(timesteps: int, first: float, last: float) -> Schedule:
    """Return β rising linearly from `first` to `last` over `timesteps` steps."""
    beta = torch.linspace(first, last, timesteps, dtype=torch.float64)
    return Schedule(beta, torch.cumprod(1 - beta, dim=0))


def diffuse(schedule: Schedule, clean: Tensor, index: Tensor, noise: Tensor) -> Tensor:
    """Return √ᾱ_t z_0 + √(1 − ᾱ_t) ε (Ho et al. 2020, eq. 4) for t = `index` + 1: → [B, Z]."""
    alpha_bar = schedule.alpha_bar.to(clean)[index].unsqueeze(1)
    return alpha_bar.sqrt() * clean + (1 - alpha_bar).sqrt() * noise


def ddpm_loss(denoiser: Denoiser, schedule: Schedule, clean: Tensor, index: Tensor, noise: Tensor) -> Tensor:
    """Return the mean squared error of the predicted noise (Ho et al. 2020, eq. 14).

    `clean` and `noise` are [B, Z], `index` [B] holds t − 1 of each sample.
    """
    noisy = diffuse(schedule, clean, index, noise)
    predicted = denoiser(noisy, (index + 1).to(clean) / schedule.timesteps)
    return (predicted - noise).square().mean()


def flow_loss(denoiser: Denoiser, clean: Tensor, time: Tensor, noise: Tensor) -> Tensor:
    """Return the mean squared error of the predicted velocity z_0 − ε on the line between them.

    Flow matching with linear paths (Lipman et al. 2023; Liu et al. 2023): z_s = (1 − s) ε + s z_0, `time`
    s [B] in [0, 1], 0 is noise and 1 is data.
    """
    s = time.unsqueeze(1)
    predicted = denoiser((1 - s) * noise + s * clean, time)
    return (predicted - (clean - noise)).square().mean()


def ddpm_states(denoiser: Denoiser, schedule: Schedule, start: Tensor, noise: Noise) -> Iterator[Tensor]:
    """Run the ancestral reverse process (Ho et al. 2020, algorithm 2) and yield z_T, …, z_0: T + 1 states.

    `start` [B, Z] is standard normal, and so is each [B, Z] that `noise` returns, T − 1 times. The step's
    variance is that of the posterior, β̃_t. Nothing is clamped: weights have no bounds.
    """
    latents = start
    yield latents
    betas, alpha_bars = schedule.beta.tolist(), schedule.alpha_bar.tolist()
    for index in range(schedule.timesteps - 1, -1, -1):
        beta, alpha_bar = betas[index], alpha_bars[index]
        time = latents.new_full((1,), (index + 1) / schedule.timesteps)
        predicted = denoiser(latents, time)
        latents = (latents - beta / (1 - alpha_bar) ** 0.5 * predicted) / (1 - beta) ** 0.5
        if index > 0:
            variance = beta * (1 - alpha_bars[index - 1]) / (1 - alpha_bar)
            latents = latents + variance**0.5 * noise()
        yield latents


def flow_states(denoiser: Denoiser, steps: int, start: Tensor) -> Iterator[Tensor]:
    """Integrate dz/ds = v(z, s) from s = 0 to 1 with `steps` midpoint steps; yield z at both ends of each.

    `start` [B, Z] is noise.
    """
    latents, width = start, 1 / steps
    yield latents
    for step in range(steps):
        time = latents.new_full((1,), step * width)
        half = latents + width / 2 * denoiser(latents, time)
        latents = latents + width * denoiser(half, time + width / 2)
        yield latents


class Process(ABC):
    """Training loss and sampler that belong together."""

    steps: int
    """Steps from noise to latents."""

    @abstractmethod
    def loss(self, denoiser: Denoiser, clean: Tensor, random: Random) -> Tensor:
        """Return the scalar loss of clean latents [B, Z]; times and noise come from `random`."""

    @abstractmethod
    def states(self, denoiser: Denoiser, noise: Noise) -> Iterator[Tensor]:
        """Yield [N, Z] before the first step, the first noise, and after each."""


class DdpmProcess(Process):
    """Denoising diffusion with ε-prediction and uniform timesteps (Ho et al. 2020)."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.steps = schedule.timesteps

    def loss(self, denoiser: Denoiser, clean: Tensor, random: Random) -> Tensor:
        """Return the noise-prediction loss."""
        self.schedule = self.schedule.on(clean.device)  # once, not at every step
        index = random.integers(self.steps, len(clean))
        return ddpm_loss(denoiser, self.schedule, clean, index, random.normal(*clean.shape))

    def states(self, denoiser: Denoiser, noise: Noise) -> Iterator[Tensor]:
        """Yield the states of the ancestral reverse process."""
        return ddpm_states(denoiser, self.schedule, noise(), noise)


class FlowProcess(Process):
    """Flow matching along straight lines, integrated with `steps` midpoint steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def loss(self, denoiser: Denoiser, clean: Tensor, random: Random) -> Tensor:
        """Return the velocity-prediction loss."""
        time = random.uniform(len(clean))
        return flow_loss(denoiser, clean, time, random.normal(*clean.shape))

    def states(self, denoiser: Denoiser, noise: Noise) -> Iterator[Tensor]:
        """Yield the states of the integration."""
        return flow_states(denoiser, self.steps, noise())


def last(states: Iterator[Tensor]) -> Tensor:
    """Return the last of the states, keeping one at a time."""
    latents = next(states)
    for latents in states:  # noqa: B007 (what it ends with is what is wanted)
        pass
    return latents


def build_process(config: DiffusionConfig) -> Process:
    """Return the process that the configuration names."""
    match config.kind:
        case "ddpm":
            return DdpmProcess(linear_schedule(config.timesteps, config.beta_first, config.beta_last))
        case "flow":
            return FlowProcess(config.timesteps)
