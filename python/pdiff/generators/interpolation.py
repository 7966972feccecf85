"""Interpolate between two random members."""

from typing import Self

from torch import Tensor

from pdiff.bank import View
from pdiff.common.config import InterpolationConfig
from pdiff.common.rng import numpy_generator
from pdiff.generators.base import Context, Generator
from pdiff.generators.moments import require_members


class Interpolation(Generator[InterpolationConfig]):
    """Points (1 − λ)·a + λ·b on the segment between two different random members, λ the config's `weight`.

    Row i takes the same two members at every λ. A family of *Generative Modeling of Weights: Generalization
    or Memorization?* (arXiv 2506.07998).
    """

    @classmethod
    def fit(cls, config: InterpolationConfig, members: View, context: Context) -> Self:
        """Check that there are two members; raises `UsageError`."""
        require_members(members, 2, "interpolation")
        return cls(config, members)

    @property
    def strength(self) -> float:
        """λ, the share of the second member."""
        return self.config.weight

    def row(self, index: int, seed: int) -> Tensor:
        """Return a point on a segment: raw f32 [D]."""
        generator = numpy_generator(seed, "baseline/interpolation", index)
        first, second = self.members.batch(generator.choice(len(self.members), 2, replace=False))
        row: Tensor = first.lerp(second, self.config.weight)
        return row
