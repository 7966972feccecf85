"""All baseline families, each swept from models close to the bank to wrecked ones."""

from collections.abc import Iterator
from functools import partial

from pdiff.bank import Bank
from pdiff.evaluation.baselines.gaussians import PcaGaussian, gaussian
from pdiff.evaluation.baselines.mixtures import average, interpolation
from pdiff.evaluation.baselines.noise import MeanNoise, noise, noise_scales
from pdiff.evaluation.families import Population

__all__ = ["baseline_populations"]

AVERAGED = (2, 4, 8, 16, 32, 64)
WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
NOISE_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Times the bank's own spread."""
MEAN_NOISE_FACTORS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
SCALES = (0.5, 1.0, 2.0, 3.0, 4.0, 8.0, 16.0)
"""Times the bank's own standard deviations; closest where accuracy begins to bend, near ×3."""


def baseline_populations(bank: Bank, size: int, seed: int) -> list[Population]:
    """Return every baseline that an evaluation holds beside the generated models, `size` models a point.

    Strengths are relative to the bank's own spread and reach from models that hardly differ from its members,
    or from its mean, to useless ones: the frontier is then known at every similarity that is to be had.
    """
    return [*_noises(bank, size, seed), *_mixtures(bank, size, seed), *_gaussians(bank, size, seed)]


def _noises(bank: Bank, size: int, seed: int) -> Iterator[Population]:
    for sigma in noise_scales(bank, NOISE_FACTORS):
        yield Population("noise", sigma, size, partial(noise, bank, sigma=sigma, seed=seed))
    around_mean = MeanNoise(bank, seed)
    for sigma in noise_scales(bank, MEAN_NOISE_FACTORS):
        yield Population("mean-noise", sigma, size, partial(around_mean.rows, sigma=sigma))


def _mixtures(bank: Bank, size: int, seed: int) -> Iterator[Population]:
    for members in (count for count in AVERAGED if count < len(bank)):  # of all there is the ensemble
        yield Population("average", members, size, partial(average, bank, members=members, seed=seed))
    for weight in WEIGHTS:
        yield Population(
            "interpolation", weight, size, partial(interpolation, bank, weight=weight, seed=seed)
        )


def _gaussians(bank: Bank, size: int, seed: int) -> Iterator[Population]:
    for scale in SCALES:
        yield Population("gaussian", scale, size, partial(gaussian, bank, scale=scale, seed=seed))
    principal = PcaGaussian(bank, seed)
    for scale in SCALES:
        yield Population("pca-gaussian", scale, size, partial(principal.rows, scale=scale))
