"""Go from noise to latents in any number of steps: pure functions over a callable that parts z_t.

Each yields the states on the way: the noise that it starts from, then one state a step, of which the last are
the latents. Nothing is clamped: weights have no bounds.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from pdiff.diffusion.objectives import Denoiser, Objective, parts
from pdiff.diffusion.paths import Path

Noise = Callable[[], Tensor]
"""→ normals [N, Z], new ones each time."""


@dataclass(frozen=True)
class Level:
    """A time with its scales: z = α z_0 + σ ε."""

    time: float
    alpha: float
    sigma: float

    @property
    def share(self) -> float:
        """σ / (α + σ): the share of the noise on the straight line that the path is a rescaling of."""
        return self.sigma / (self.alpha + self.sigma)


Part = Callable[[Tensor, Level], tuple[Tensor, Tensor]]
"""(z_t [N, Z], its level) → z_0 and ε as they are estimated from it, [N, Z] each."""
Sampler = Callable[[Part, Path, Sequence[Level], Noise], Iterator[Tensor]]


def levels(path: Path, times: Sequence[float]) -> list[Level]:
    """Return the levels of the path at `times`."""
    alphas, sigmas = path.scales(torch.tensor(times, dtype=torch.float64))
    return [Level(*each) for each in zip(times, alphas.tolist(), sigmas.tolist(), strict=True)]


def part_with(denoiser: Denoiser, objective: Objective) -> Part:
    """Return what parts z_t by a denoiser that was trained for `objective`."""

    def part(latents: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        predicted = denoiser(latents, latents.new_full((1,), level.time))
        return parts(objective, predicted, latents, level.alpha, level.sigma)

    return part


def ddpm(part: Part, path: Path, ends: Sequence[Level], noise: Noise) -> Iterator[Tensor]:
    """Draw from the posterior q(z_s | z_t, z_0) at the z_0 that is estimated (Ho et al. 2020, algorithm 2).

    The variance is the posterior's, σ²_{t|s} σ_s² / σ_t² with σ²_{t|s} = σ_t² − (α_t / α_s)² σ_s². Noise is
    drawn for the start and for every step but the last.
    """
    latents = noise()
    yield latents
    for now, then in pairwise(ends):
        clean, predicted = part(latents, now)
        added = now.sigma**2 - (now.alpha / then.alpha) ** 2 * then.sigma**2
        variance = added * then.sigma**2 / now.sigma**2
        latents = then.alpha * clean + math.sqrt(max(then.sigma**2 - variance, 0)) * predicted
        if then.sigma:
            latents = latents + math.sqrt(variance) * noise()
        yield latents


def euler(part: Part, path: Path, ends: Sequence[Level], noise: Noise) -> Iterator[Tensor]:
    """Go to α_s z_0 + σ_s ε with the z_0 and ε that are estimated at t: DDIM (Song et al. 2021, η = 0).

    In x = z / (α + σ), every path is the straight line x = (1 − u) z_0 + u ε with u = σ / (α + σ), and this
    is Euler's step of dx/du = ε − z_0.
    """
    latents = noise()
    yield latents
    for now, then in pairwise(ends):
        clean, predicted = part(latents, now)
        latents = then.alpha * clean + then.sigma * predicted
        yield latents


def heun(part: Part, path: Path, ends: Sequence[Level], noise: Noise) -> Iterator[Tensor]:
    """Take Heun's steps of dx/du = ε − z_0 (see `euler`), and Euler's to the end, where σ is 0."""
    latents = noise()
    yield latents
    for now, then in pairwise(ends):
        clean, predicted = part(latents, now)
        ahead = then.alpha * clean + then.sigma * predicted
        if then.sigma:
            clean_ahead, predicted_ahead = part(ahead, then)
            slope = (predicted - clean + predicted_ahead - clean_ahead) / 2
            ahead = _along(latents, slope, now, then)
        latents = ahead
        yield latents


def midpoint(part: Part, path: Path, ends: Sequence[Level], noise: Noise) -> Iterator[Tensor]:
    """Take midpoint steps of dx/du = ε − z_0 (see `euler`): the slope is that at the middle time."""
    latents = noise()
    yield latents
    middles = levels(path, [(now.time + then.time) / 2 for now, then in pairwise(ends)])
    for (now, then), middle in zip(pairwise(ends), middles, strict=True):
        clean, predicted = part(latents, now)
        half = middle.alpha * clean + middle.sigma * predicted
        clean, predicted = part(half, middle)
        latents = _along(latents, predicted - clean, now, then)
        yield latents


def _along(latents: Tensor, slope: Tensor, now: Level, then: Level) -> Tensor:
    """Go from z_t along dx/du = `slope`, and return z_s."""
    return (then.alpha + then.sigma) * (latents / (now.alpha + now.sigma) + (then.share - now.share) * slope)


def dpm_solver_2m(part: Part, path: Path, ends: Sequence[Level], noise: Noise) -> Iterator[Tensor]:
    """Take two-step steps in λ = log(α / σ) on z_0: DPM-Solver++(2M) (Lu et al. 2022, algorithm 2).

    The first step and the last one, which ends at λ = ∞, are of first order.
    """
    latents = noise()
    yield latents
    before: tuple[Tensor, float] | None = None  # the z_0 of the step before, and its width in λ
    for now, then in pairwise(ends):
        clean, _ = part(latents, now)
        width = _log_snr(then) - _log_snr(now)
        extrapolated = clean
        if before is not None and math.isfinite(width) and math.isfinite(before[1]):
            extrapolated = clean + (clean - before[0]) * (width / before[1] / 2)
        latents = then.sigma / now.sigma * latents - then.alpha * math.expm1(-width) * extrapolated
        before = clean, width
        yield latents


def _log_snr(level: Level) -> float:
    if not level.alpha or not level.sigma:
        return math.inf if level.alpha else -math.inf
    return math.log(level.alpha / level.sigma)


SAMPLERS: Mapping[str, Sampler] = {
    "ddpm": ddpm,
    "ddim": euler,
    "euler": euler,
    "heun": heun,
    "midpoint": midpoint,
    "dpm++2m": dpm_solver_2m,
}


def last(states: Iterator[Tensor]) -> Tensor:
    """Return the last of the states, keeping one at a time."""
    latents = next(states)
    for latents in states:  # noqa: B007 (what it ends with is what is wanted)
        pass
    return latents
