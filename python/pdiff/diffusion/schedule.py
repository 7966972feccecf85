"""The noise schedule of a denoising diffusion model (Ho et al. 2020, section 2)."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Schedule", "linear_schedule"]


@dataclass(frozen=True)
class Schedule:
    """Variances of the forward process, float64, index t − 1 for timestep t = 1 … T."""

    beta: Tensor
    """β_t [T]: the variance that step t adds."""
    alpha_bar: Tensor
    """ᾱ_t [T]: the share of the signal's variance that is left after step t."""

    @property
    def timesteps(self) -> int:
        """T."""
        return len(self.beta)


def linear_schedule(timesteps: int, first: float, last: float) -> Schedule:
    """Return β rising linearly from `first` to `last` over `timesteps` steps."""
    beta = torch.linspace(first, last, timesteps, dtype=torch.float64)
    return Schedule(beta, torch.cumprod(1 - beta, dim=0))
