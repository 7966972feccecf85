"""What a denoiser is trained to predict. Pure functions of clean latents, times and noise."""

from collections.abc import Callable

from torch import Tensor

from pdiff.diffusion.schedule import Schedule

__all__ = ["Denoiser", "ddpm_loss", "diffuse", "flow_loss"]

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(noisy latents [B, Z], times [B] in [0, 1]) → prediction [B, Z]."""


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
