"""What a generator has to beat: models that need no learning, only the bank.

Every function returns raw rows [n, D] f32, new memory each time, and row i depends on (seed, family, i)
alone. Noise is added where the bank's normaliser puts `running_var` in log space, so variances stay
positive. The families are those of *Generative Modeling of Weights: Generalization or Memorization?*
(arXiv 2506.07998). Averages are of gathered copies: the bank is never written to.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.evaluation.families import Population
from pdiff.rng import numpy_generator

__all__ = ["average", "baseline_populations", "ensemble", "gaussian", "noise", "noise_scales"]

AVERAGED = 16
_SPREADS = (0.25, 0.5, 1.0)


def noise(bank: Bank, indices: Sequence[int], *, sigma: float, seed: int) -> Tensor:
    """Return bank members plus white noise of `sigma` standard deviations of each tensor.

    Row i takes the same member and the same direction at every `sigma`, so that a sweep draws a curve.
    """
    generators = [numpy_generator(seed, "baseline/noise", index) for index in indices]
    normalizer = bank.normalizer("tensor")
    rows = bank.batch([int(generator.integers(len(bank))) for generator in generators], normalizer)
    for row, generator in zip(rows, generators, strict=True):
        row.add_(torch.from_numpy(generator.standard_normal(bank.dim, dtype="float32")), alpha=sigma)
    normalizer.invert(rows.numpy())
    return rows


def average(bank: Bank, indices: Sequence[int], *, members: int = AVERAGED, seed: int) -> Tensor:
    """Return averages of `members` different bank rows, drawn at random."""
    rows = torch.empty(len(indices), bank.dim)
    for row, index in zip(rows, indices, strict=True):
        generator = numpy_generator(seed, "baseline/average", index)
        chosen = generator.choice(len(bank), size=members, replace=False)
        row.copy_(bank.batch(chosen).double().mean(dim=0))
    return rows


def gaussian(bank: Bank, indices: Sequence[int], *, scale: float = 1.0, seed: int) -> Tensor:
    """Return draws from one Gaussian a dimension, with the bank's mean and `scale` times its std.

    Numbers that are the same in every member stay what they are.
    """
    std = scale * (bank.statistics["element_std"] > 0).float()
    rows = torch.empty(len(indices), bank.dim)
    for row, index in zip(rows, indices, strict=True):
        generator = numpy_generator(seed, "baseline/gaussian", index)
        torch.mul(std, torch.from_numpy(generator.standard_normal(bank.dim, dtype="float32")), out=row)
    bank.normalizer("element").invert(rows.numpy())
    return rows


def ensemble(bank: Bank) -> Tensor:
    """Return the average of all K rows as one row [1, D]: the *ensemble* of arXiv 2402.13144, table 1."""
    total = torch.zeros(bank.dim, dtype=torch.float64)
    for index in range(len(bank)):
        total += bank.batch([index])[0]
    return (total / len(bank)).float()[None]


def noise_scales(bank: Bank) -> tuple[float, ...]:
    """Return three noise scales that draw a curve for this bank: ¼, ½ and 1 times its own spread.

    Scales are in units of each tensor's std. A fixed choice cannot serve every bank: the members of a
    whole-network bank lie some 0.02 stds apart, those of a bank of norm layers ten times that, and noise
    that ruins the one leaves copies of the other. The spread is the RMS over elements of their std in the
    bank; scales are rounded to two digits.
    """
    statistics = bank.statistics
    sizes = torch.tensor([segment.end - segment.begin for segment in bank.layout.segments])
    unit = statistics["tensor_std"].where(statistics["tensor_std"] > 0, 1.0).repeat_interleave(sizes)
    spread = float((statistics["element_std"] / unit).square().mean().sqrt())
    return tuple(_two_digits(factor * spread) for factor in _SPREADS)


def _two_digits(value: float) -> float:
    """Round to two significant digits."""
    return float(f"{value:.1e}")


def baseline_populations(bank: Bank, size: int, seed: int) -> list[Population]:
    """Return the baselines that every evaluation holds beside the generated models, `size` models each."""
    members = min(AVERAGED, len(bank))
    return [
        *(
            Population("noise", sigma, size, partial(noise, bank, sigma=sigma, seed=seed))
            for sigma in noise_scales(bank)
        ),
        Population("average", members, size, partial(average, bank, members=members, seed=seed)),
        Population("gaussian", 1.0, size, partial(gaussian, bank, scale=1.0, seed=seed)),
    ]
