"""List the baselines of an evaluation: families over their strengths, from close to the bank to useless.

Strengths are relative to the bank's own spread and reach from models that hardly differ from its members, or
from its mean, to useless ones: the frontier is then known at every similarity that is to be had.
"""

from msgspec.structs import replace

from pdiff.bank import Bank, View
from pdiff.common.config import (
    AverageConfig,
    Config,
    GaussianConfig,
    InterpolationConfig,
    NoiseConfig,
    TunedConfig,
)
from pdiff.generators.tuned import SNAPSHOTS

AVERAGED = (2, 4, 8, 16, 32, 64)
WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
NOISE_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Times the bank's own spread."""
MEAN_NOISE_FACTORS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
SCALES = (0.5, 1.0, 2.0, 3.0, 4.0, 8.0, 16.0)
"""Times the bank's own standard deviations; closest where accuracy begins to bend, near ×3."""
TUNED_SCALES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Of the noise around the tuned mean, in the bank's standard deviations."""
CYCLIC_RATES = (1e-3, 1e-2, 3e-2)
DRAWN_SCALES = (2.0, 4.0, 8.0, 16.0)
"""Of the draws that are fine-tuned."""
RATE = 1e-2
"""Of Adam, for the mean and for draws: high for fine-tuning, so that they move."""


def weight_sweeps(bank: Bank | View) -> list[Config]:
    """Return the baselines that use weights alone; averages of fewer members than there are."""
    averaged = [count for count in AVERAGED if count < len(bank)]
    return [
        *(NoiseConfig(name="noise", around="member", scale=factor) for factor in NOISE_FACTORS),
        *(NoiseConfig(name="noise", around="mean", scale=factor) for factor in MEAN_NOISE_FACTORS),
        *(AverageConfig(name="average", members=count) for count in averaged),
        *(InterpolationConfig(name="interpolation", weight=weight) for weight in WEIGHTS),
        *(GaussianConfig(name="gaussian", covariance="diagonal", scale=scale) for scale in SCALES),
        *(GaussianConfig(name="gaussian", covariance="pca", scale=scale) for scale in SCALES),
    ]


def gradient_sweeps(gradients: int, models: int, seed: int = 0) -> list[Config]:
    """Return the fine-tuned baselines, each with `gradients` evaluations for its `models`; [] for 0.

    A family is left out where the gradients do not pay for one model. Fit them with one `Context`, so that
    the mean is tuned once for all scales; `seed` decides how.
    """
    if not gradients:
        return []
    common = TunedConfig(name="tuned", seed=seed, gradient_evaluations=gradients, models=models, rate=RATE)
    rates = CYCLIC_RATES if gradients >= SNAPSHOTS else ()
    return [
        *(replace(common, start="mean", scale=scale) for scale in TUNED_SCALES),
        *(replace(common, start="cyclic", rate=rate) for rate in rates),
        *(replace(common, start="gaussian", scale=scale) for scale in DRAWN_SCALES),
    ]


def family_name(config: Config) -> str:
    """Return what results call the family that a configuration is of, one curve each."""
    match config:
        case NoiseConfig(around="mean"):
            return "mean-noise"
        case AverageConfig(soup="greedy"):
            return "greedy-soup"
        case AverageConfig(choice="last", members=count) if count:
            return "average-last"
        case GaussianConfig(covariance=covariance):
            return {"diagonal": "gaussian", "pca": "pca-gaussian", "swag": "swag"}[covariance]
        case TunedConfig(start=start):
            return {"mean": "tuned-mean", "cyclic": "cyclic", "gaussian": "tuned-gaussian"}[start]
    return config.family


_NAMES = {
    "noise": "noise σ",
    "mean-noise": "mean + noise σ",
    "average": "average of",
    "average-last": "average of the last",
    "greedy-soup": "greedy soup",
    "interpolation": "interpolation λ",
    "gaussian": "Gaussian ×",
    "pca-gaussian": "PCA Gaussian ×",
    "swag": "SWAG ×",
    "tuned-mean": "tuned mean + Gaussian ×",
    "cyclic": "cyclic, rate",
    "tuned-gaussian": "tuned Gaussian ×",
    "ensemble": "average of all",
}


def label(family: str, strength: float | None) -> str:
    """Return how people call a family at one strength: `average of 16`, `noise σ 0.02`, `Gaussian ×2`."""
    name = _NAMES.get(family, family)
    if strength is None:
        return "average of all" if family == "average" else name
    return f"{name}{'' if name.endswith('×') else ' '}{strength:g}"
