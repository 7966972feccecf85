"""Populations: the models of one family, made when they are asked for, and what the family is called."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Population", "label"]


@dataclass(frozen=True)
class Population:
    """`size` models of one family; all families are judged by the same code."""

    family: str
    """`original`, `generated`, `ensemble`, or a baseline's: `noise`, `average`, `gaussian`."""
    strength: float | None
    """What the family is swept over: σ of the noise, members averaged, scale of the Gaussian."""
    size: int
    rows: Callable[[Sequence[int]], Tensor]
    """Indices → raw rows [B, D] f32 that the caller may write to."""


def label(family: str, strength: float | None) -> str:
    """Return how people call a family at one strength: `average of 16`, `noise σ 0.02`."""
    match family:
        case "original":
            return "original"
        case "generated":
            return "p-diff"
        case "noise":
            return f"noise σ {strength:g}"
        case "average":
            return f"average of {strength:g}"
        case "gaussian":
            return f"Gaussian ×{strength:g}"
        case _:
            return family if strength is None else f"{family} {strength:g}"
