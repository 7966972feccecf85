"""White noise on bank members, and on their mean."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.rng import numpy_generator
from pdiff.evaluation.baselines.moments import denormalise, mean_row

__all__ = ["MeanNoise", "noise", "noise_scales"]


def noise(bank: Bank, indices: Sequence[int], *, sigma: float, seed: int) -> Tensor:
    """Return bank members plus white noise of `sigma` standard deviations of each tensor: raw [n, D].

    Row i takes the same member and the same direction at every `sigma`.
    """
    generators = [numpy_generator(seed, "baseline/noise", index) for index in indices]
    normalizer = bank.normalizer("tensor")
    rows = bank.batch([int(generator.integers(len(bank))) for generator in generators], normalizer)
    _add_white(rows, generators, sigma)
    denormalise(bank, rows, normalizer)
    return rows


class MeanNoise:
    """The bank's mean plus white noise."""

    def __init__(self, bank: Bank, seed: int) -> None:
        self._bank = bank
        self._seed = seed
        self._normalizer = bank.normalizer("tensor")

    @cached_property
    def _mean(self) -> Tensor:
        return mean_row(self._bank, self._normalizer)

    def rows(self, indices: Sequence[int], *, sigma: float) -> Tensor:
        """Return the mean plus noise of `sigma` standard deviations of each tensor: raw [n, D]."""
        rows = self._mean.repeat(len(indices), 1)
        _add_white(rows, [numpy_generator(self._seed, "baseline/mean-noise", i) for i in indices], sigma)
        denormalise(self._bank, rows, self._normalizer)
        return rows


def _add_white(rows: Tensor, generators: Sequence[np.random.Generator], sigma: float) -> None:
    """Add to each row the next standard normals of its generator, times `sigma`."""
    for row, generator in zip(rows, generators, strict=True):
        row.add_(torch.from_numpy(generator.standard_normal(len(row), dtype="float32")), alpha=sigma)


def noise_scales(bank: Bank, factors: Sequence[float]) -> tuple[float, ...]:
    """Return noise scales that suit this bank: `factors` times its own spread.

    Scales are in units of each tensor's std. A fixed choice cannot serve every bank: the members of a
    whole-network bank lie some 0.02 stds apart, those of a bank of norm layers ten times that, and noise
    that ruins the one leaves copies of the other. The spread is the RMS over elements of their std in the
    bank; scales are rounded to two digits.
    """
    statistics = bank.statistics
    sizes = torch.tensor([segment.end - segment.begin for segment in bank.layout.segments])
    unit = statistics["tensor_std"].where(statistics["tensor_std"] > 0, 1.0).repeat_interleave(sizes)
    spread = float((statistics["element_std"] / unit).square().mean().sqrt())
    return tuple(_two_digits(factor * spread) for factor in factors)


def _two_digits(value: float) -> float:
    """Round to two significant digits."""
    return float(f"{value:.1e}")
