"""Define what a denoiser predicts of z_t = α z_0 + σ ε, and how both parts follow from the prediction."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from pdiff.common.torch_rng import Random
from pdiff.diffusion.paths import Path

Objective = Literal["noise", "data", "v", "velocity"]
"""ε (Ho et al. 2020), z_0, α ε − σ z_0 (Salimans & Ho 2022), or ε − z_0 (Lipman et al. 2023)."""
Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(noisy latents [B, Z], times [B], or [1] for all, in [0, 1]) → prediction [B, Z]."""
Scale = Tensor | float


def target(objective: Objective, clean: Tensor, noise: Tensor, alpha: Scale, sigma: Scale) -> Tensor:
    """Return what is to be predicted for z_0 = `clean` and ε = `noise`."""
    match objective:
        case "noise":
            return noise
        case "data":
            return clean
        case "v":
            return alpha * noise - sigma * clean
        case "velocity":
            return noise - clean


def parts(
    objective: Objective, predicted: Tensor, noisy: Tensor, alpha: float, sigma: float
) -> tuple[Tensor, Tensor]:
    """Return the z_0 and ε, [B, Z] each, that a prediction for z_t = `noisy` implies: z_t = α z_0 + σ ε.

    α is not 0 for the objective `noise`, and σ is not 0 for `data`.
    """
    match objective:
        case "noise":
            return (noisy - sigma * predicted) / alpha, predicted
        case "data":
            return predicted, (noisy - alpha * predicted) / sigma
        case "v":
            square = alpha**2 + sigma**2
            return (alpha * noisy - sigma * predicted) / square, (sigma * noisy + alpha * predicted) / square
        case "velocity":
            total = alpha + sigma
            return (noisy - sigma * predicted) / total, (noisy + alpha * predicted) / total


def loss(denoiser: Denoiser, path: Path, objective: Objective, clean: Tensor, random: Random) -> Tensor:
    """Return the mean squared error of the prediction for latents [B, Z]; times and noise are random."""
    time = path.training_times(random, len(clean))
    noise = random.normal(*clean.shape)
    alpha, sigma = (scale.unsqueeze(1) for scale in path.scales(time))
    predicted = denoiser(alpha * clean + sigma * noise, time)
    return (predicted - target(objective, clean, noise, alpha, sigma)).square().mean()
