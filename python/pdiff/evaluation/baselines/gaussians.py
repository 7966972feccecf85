"""Draws from Gaussians fitted to the bank: one a dimension, and one of its full covariance."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.rng import numpy_generator
from pdiff.evaluation.baselines.moments import denormalise, mean_row, principal_axes

__all__ = ["PcaGaussian", "gaussian"]


def gaussian(bank: Bank, indices: Sequence[int], *, scale: float = 1.0, seed: int) -> Tensor:
    """Return draws from one Gaussian a dimension, with the bank's mean and `scale` times its std: raw [n, D].

    Numbers that are the same in every member stay what they are.
    """
    std = scale * (bank.statistics["element_std"] > 0).float()
    rows = torch.empty(len(indices), bank.dim)
    for row, index in zip(rows, indices, strict=True):
        generator = numpy_generator(seed, "baseline/gaussian", index)
        torch.mul(std, torch.from_numpy(generator.standard_normal(bank.dim, dtype="float32")), out=row)
    denormalise(bank, rows, bank.normalizer("element"))
    return rows


class PcaGaussian:
    """Draws with the bank's mean and covariance, through its K×K Gram matrix."""

    def __init__(self, bank: Bank, seed: int) -> None:
        self._bank = bank
        self._seed = seed
        self._normalizer = bank.normalizer("tensor")

    @cached_property
    def _mean(self) -> Tensor:
        return mean_row(self._bank, self._normalizer)

    @cached_property
    def _axes(self) -> Tensor:
        return principal_axes(self._bank, self._normalizer)

    def rows(self, indices: Sequence[int], *, scale: float = 1.0) -> Tensor:
        """Return draws with `scale` times the bank's std along each principal axis: raw [n, D]."""
        draws = [
            numpy_generator(self._seed, "baseline/pca-gaussian", index).standard_normal(len(self._axes))
            for index in indices
        ]
        coefficients = scale * torch.from_numpy(np.stack(draws)) @ self._axes  # [n, K]
        rows = self._bank.combine(coefficients, self._normalizer, centred=True)
        rows += self._mean
        denormalise(self._bank, rows, self._normalizer)
        return rows
