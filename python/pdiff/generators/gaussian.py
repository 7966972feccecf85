"""Draw from a Gaussian fitted to the members: diagonal, of full covariance, or SWAG's half of each."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from pdiff.bank import Normalizer, View
from pdiff.bank.spectrum import mean_row, spectrum
from pdiff.common.config import GaussianConfig
from pdiff.common.rng import numpy_generator
from pdiff.generators.base import Context, Generator
from pdiff.generators.moments import (
    denormalise,
    element_normalizer,
    element_std,
    require_members,
    tensor_std,
)


class Gaussian(Generator[GaussianConfig]):
    """Draws with the members' mean, and `scale` times the deviations that the covariance gives.

    Running variances are drawn in log space and stay positive. Row i goes the same way at every scale.

    - `diagonal`: one variance a number. Numbers that no member changes stay what they are.
    - `pca`: the covariance of the members, all K − 1 directions of it, through their K×K Gram matrix.
    - `swag`: *A Simple Baseline for Bayesian Uncertainty in Deep Learning* (Maddox et al. 2019, arXiv
      1902.02476, equation 1): θ = mean + Σ_diag^½ z₁ / √2 + D z₂ / √(2(R − 1)), where Σ_diag has the variance
      of each number over all members and the R columns of D are the deviations of the last members
      (`swag_deviations`). The paper's members are epochs; here the bank's order stands for time.

    `diagonal` and `pca` are families of *Generative Modeling of Weights: Generalization or Memorization?*
    (arXiv 2506.07998).
    """

    @classmethod
    def fit(cls, config: GaussianConfig, members: View, context: Context) -> Self:
        """Check that there are members to fit to, two for a covariance of several numbers: `UsageError`.

        Mean and covariance are computed when rows are first asked for, and come from the bank alone.
        """
        fewest = 1 if config.covariance == "diagonal" else 2
        require_members(members, fewest, f"a Gaussian of covariance {config.covariance}")
        return cls(config, members)

    @property
    def strength(self) -> float:
        """The scale, times the standard deviations of the members."""
        return self.config.scale

    def rows(self, indices: Sequence[int], seed: int) -> Tensor:
        """Return draws: raw f32 [n, D]."""
        draw: Callable[[Sequence[int], int], Tensor] = {
            "diagonal": self._diagonal,
            "pca": self._principal,
            "swag": self._swag,
        }[self.config.covariance]
        rows = draw(indices, seed)
        diagonal = self.config.covariance == "diagonal"
        denormalise(self.members, rows, self._elements if diagonal else self.members.normalizer("tensor"))
        return rows

    def _diagonal(self, indices: Sequence[int], seed: int) -> Tensor:
        """Return white noise on the numbers that vary, in deviations from the mean: f32 [n, D]."""
        std = self.config.scale * (self._element_std > 0).float()
        rows = torch.empty(len(indices), self.members.dim)
        for row, index in zip(rows, indices, strict=True):
            generator = numpy_generator(seed, "baseline/gaussian", index)
            white = generator.standard_normal(self.members.dim, dtype="float32")
            torch.mul(std, torch.from_numpy(white), out=row)
        return rows

    def _principal(self, indices: Sequence[int], seed: int) -> Tensor:
        """Return the mean plus standard normals along the principal axes: normalised f32 [n, D]."""
        axes = spectrum(self.members, "tensor").coefficients()
        coefficients = torch.empty(len(indices), axes.shape[1], dtype=torch.float64)
        for row, index in zip(coefficients, indices, strict=True):
            generator = numpy_generator(seed, "baseline/pca-gaussian", index)
            row.copy_(self.config.scale * torch.from_numpy(generator.standard_normal(len(axes))) @ axes)
        return self._around_mean(coefficients)

    def _swag(self, indices: Sequence[int], seed: int) -> Tensor:
        """Return draws of SWAG: normalised f32 [n, D]."""
        deviations = swag_deviations(len(self.members), self.config.rank)  # [R, K]
        rank = len(deviations)
        low_rank = self.config.scale / (2 * (rank - 1)) ** 0.5
        diagonal = (self.config.scale / 2**0.5 * self._element_std / tensor_std(self.members)).float()
        places = torch.from_numpy(self.members.indices.copy())
        coefficients = torch.zeros(len(indices), len(self.members.bank), dtype=torch.float64)
        noise = torch.empty(len(indices), self.members.dim)
        for row, white, index in zip(coefficients, noise, indices, strict=True):
            generator = numpy_generator(seed, "baseline/swag", index)
            drawn = low_rank * torch.from_numpy(generator.standard_normal(rank))
            row.index_add_(0, places, drawn @ deviations)
            numbers = generator.standard_normal(self.members.dim, dtype="float32")
            torch.mul(diagonal, torch.from_numpy(numbers), out=white)
        return self._around_mean(coefficients).add_(noise)

    def _around_mean(self, coefficients: Tensor) -> Tensor:
        """Return the mean plus combinations of the bank's rows, each of coefficients that add up to 0."""
        rows = self.members.bank.combine(coefficients, self.members.normalizer("tensor"), centred=True)
        return rows.add_(mean_row(self.members, "tensor"))

    @cached_property
    def _elements(self) -> Normalizer:
        return element_normalizer(self.members)

    @cached_property
    def _element_std(self) -> Tensor:
        return element_std(self.members)


def swag_deviations(count: int, rank: int) -> Tensor:
    """Return the deviations of the last min(rank, K) of K members, as coefficients over rows: f64 [R, K].

    As in the paper's algorithm 1, a member deviates from the running mean of the members up to and including
    itself, θ_i − (θ_1 + … + θ_i) / i, not from the final mean: along a trajectory the running mean lags
    behind. The deviation of member 1 is 0. Each row of coefficients adds up to 0.
    """
    last = torch.arange(max(count - rank, 0), count)[:, None]  # [R, 1]
    member = torch.arange(count)
    return (member == last).double() - (member <= last).double() / (last + 1)
