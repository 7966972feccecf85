"""Say how latents become noise: z_t = α(t) z_0 + σ(t) ε, where t runs from 0, clean, to 1, noise."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from pdiff.common.config import DiffusionConfig
from pdiff.common.errors import UsageError
from pdiff.common.torch_rng import Random


class Path(ABC):
    """The scales α(t) and σ(t), the times to train at, and those of a sampler's steps."""

    @abstractmethod
    def scales(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """Return α and σ at times in [0, 1]: each of the shape and dtype of `time`."""

    @abstractmethod
    def training_times(self, random: Random, count: int) -> Tensor:
        """Draw times to train at: f32 [count]."""

    @abstractmethod
    def times(self, steps: int) -> list[float]:
        """Return the ends of `steps` steps of a sampler: steps + 1 times, the first 1, the last 0.

        Raises `UsageError` for more steps than there are.
        """


class Line(Path):
    """The straight line from data to noise, α = 1 − t and σ = t (Lipman et al. 2023; Liu et al. 2023)."""

    def scales(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """Return 1 − t and t."""
        return 1 - time, time

    def training_times(self, random: Random, count: int) -> Tensor:
        """Draw uniform times."""
        return random.uniform(count)

    def times(self, steps: int) -> list[float]:
        """Return evenly spaced times."""
        return [1 - step / steps for step in range(steps)] + [0.0]


class VariancePreserving(Path):
    """Diffusion in T steps: α² = ᾱ and σ² = 1 − ᾱ (Ho et al. 2020, equation 4); step i stands at t = i / T.

    Between two steps α is interpolated in a line.
    """

    def __init__(self, alpha_bar: Tensor) -> None:
        self.timesteps = len(alpha_bar)
        """T."""
        self.alpha = torch.cat([alpha_bar.new_ones(1), alpha_bar]).sqrt()
        """α at t = 0, 1/T, …, 1: f64 [T + 1]."""

    def scales(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """Return √ᾱ and √(1 − ᾱ)."""
        self.alpha = self.alpha.to(time.device)  # moves once
        place = time.double() * self.timesteps
        below = place.floor().long().clamp(0, self.timesteps - 1)
        alpha = torch.lerp(self.alpha[below], self.alpha[below + 1], place - below)
        return alpha.to(time), (1 - alpha.square()).sqrt().to(time)

    def training_times(self, random: Random, count: int) -> Tensor:
        """Draw the times of steps 1 to T, uniformly."""
        return (random.integers(self.timesteps, count) + 1).float() / self.timesteps

    def times(self, steps: int) -> list[float]:
        """Return the times of steps among the T, spread evenly from the last."""
        if steps > self.timesteps:
            raise UsageError(f"{steps} sampling steps of a diffusion in {self.timesteps}; accepted: no more")
        return [round(self.timesteps * (1 - step / steps)) / self.timesteps for step in range(steps)] + [0.0]


def linear_schedule(timesteps: int, first: float, last: float) -> Tensor:
    """Return ᾱ of β that rises in a line from `first` to `last` (Ho et al. 2020): f64 [T]."""
    return torch.cumprod(1 - torch.linspace(first, last, timesteps, dtype=torch.float64), dim=0)


def cosine_schedule(timesteps: int) -> Tensor:
    """Return ᾱ along a squared cosine, with β of 0.999 at most (Nichol & Dhariwal 2021, eq. 17): f64 [T]."""
    time = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    alpha_bar = ((time + 0.008) / 1.008 * math.pi / 2).cos().square()
    beta = (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)
    return torch.cumprod(1 - beta, dim=0)


def without_signal_at_the_end(alpha_bar: Tensor) -> Tensor:
    """Shift and scale √ᾱ so that the last is 0 and the first stays (Lin et al. 2024, algorithm 1)."""
    root = alpha_bar.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])).square()


def build_path(config: DiffusionConfig) -> Path:
    """Return the path that the configuration names."""
    if config.schedule == "line":
        return Line()
    if config.schedule == "linear":
        alpha_bar = linear_schedule(config.timesteps, config.beta_first, config.beta_last)
    else:
        alpha_bar = cosine_schedule(config.timesteps)
    return VariancePreserving(without_signal_at_the_end(alpha_bar) if config.zero_terminal_snr else alpha_bar)
