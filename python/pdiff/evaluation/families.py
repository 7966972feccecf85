"""Populations: the models of one family, made when they are asked for, and what the family is called."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

__all__ = ["League", "Population", "label"]

League = Literal["weights", "inputs", "gradients"]
"""What a family's maker has seen: the bank alone, unlabelled training inputs too, or training gradients."""


@dataclass(frozen=True)
class Population:
    """`size` models of one family; all families are judged by the same code."""

    family: str
    """`original`, `generated`, `ensemble`, a baseline's (`noise`, `mean-noise`, `average`, `interpolation`,
    `gaussian`, `pca-gaussian`), a rival's (`tuned-mean`, `cyclic`, `tuned-gaussian`) or a control's."""
    strength: float | None
    """What the family is swept over: σ of the noise, members averaged, λ, scale of the Gaussian, rate."""
    size: int
    rows: Callable[[Sequence[int]], Tensor]
    """Indices → raw rows [B, D] f32 that the caller may write to."""
    league: League = "weights"
    run: int = 0
    """Which of several generated folders the models are from."""
    gradient_evaluations: int = 0
    """Minibatches of training data whose gradient was taken to make all of the models."""


_NAMES = {
    "ensemble": "average of all",
    "noise": "noise σ",
    "mean-noise": "mean + noise σ",
    "average": "average of",
    "interpolation": "interpolation λ",
    "gaussian": "Gaussian ×",
    "pca-gaussian": "PCA Gaussian ×",
    "tuned-mean": "tuned mean + Gaussian ×",
    "cyclic": "cyclic, rate",
    "tuned-gaussian": "tuned Gaussian ×",
    "generated": "p-diff",
}


def label(family: str, strength: float | None) -> str:
    """Return how people call a family at one strength: `average of 16`, `noise σ 0.02`, `Gaussian ×2`."""
    name = _NAMES.get(family, family)
    if strength is None:
        return name
    return f"{name}{'' if name.endswith('×') else ' '}{strength:g}"
