"""Add white noise to members, or to their mean."""

from collections.abc import Sequence
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from pdiff.bank import View
from pdiff.bank.spectrum import mean_row
from pdiff.common.config import NoiseConfig
from pdiff.common.rng import numpy_generator
from pdiff.generators.base import Context, Generator
from pdiff.generators.moments import denormalise, element_std, require_members, tensor_std


class Noise(Generator[NoiseConfig]):
    """White noise of σ standard deviations of each tensor, around a random member or the mean of all.

    σ is `scale` times the spread of the members (`noise_scale`). Row i takes the same member and the same
    direction at every σ. A family of *Generative Modeling of Weights: Generalization or Memorization?*
    (arXiv 2506.07998).
    """

    @classmethod
    def fit(cls, config: NoiseConfig, members: View, context: Context) -> Self:
        """Nothing is learned but the spread; raises `UsageError` for a view without members."""
        require_members(members, 1, "noise")
        return cls(config, members)

    @cached_property
    def strength(self) -> float:
        """σ of the noise, in standard deviations of each tensor."""
        return noise_scale(self.members, self.config.scale)

    def rows(self, indices: Sequence[int], seed: int) -> Tensor:
        """Return members, or means, plus noise: raw f32 [n, D]."""
        around_member = self.config.around == "member"
        purpose = "baseline/noise" if around_member else "baseline/mean-noise"
        generators = [numpy_generator(seed, purpose, index) for index in indices]
        normalizer = self.members.normalizer("tensor")
        if around_member:
            drawn = [int(generator.integers(len(self.members))) for generator in generators]
            rows = self.members.batch(drawn, normalizer)
        else:
            rows = mean_row(self.members, "tensor").repeat(len(indices), 1)
        for row, generator in zip(rows, generators, strict=True):
            white = torch.from_numpy(generator.standard_normal(len(row), dtype="float32"))
            row.add_(white, alpha=self.strength)
        denormalise(self.members, rows, normalizer)
        return rows


def noise_scale(members: View, factor: float) -> float:
    """Return a noise scale that suits these members: `factor` times their own spread, to two digits.

    In units of each tensor's std. A fixed choice cannot serve every bank: the members of a whole-network
    bank lie some 0.02 stds apart, those of a bank of norm layers ten times that, and noise that ruins the one
    leaves copies of the other. The spread is the RMS over numbers of their std over the members.
    """
    spread = float((element_std(members) / tensor_std(members)).square().mean().sqrt())
    return float(f"{factor * spread:.1e}")
