"""Averages of bank members. They are of copies: the bank is never written to."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.rng import numpy_generator

__all__ = ["average", "ensemble", "interpolation"]


def average(bank: Bank, indices: Sequence[int], *, members: int, seed: int) -> Tensor:
    """Return averages of `members` different bank rows, drawn at random: raw [n, D].

    More members are the same ones and others, so that the averages of a sweep converge.
    """
    rows = torch.empty(len(indices), bank.dim)
    for row, index in zip(rows, indices, strict=True):
        chosen = numpy_generator(seed, "baseline/average", index).permutation(len(bank))[:members]
        row.copy_(_mean(bank, chosen.tolist()))
    return rows


def interpolation(bank: Bank, indices: Sequence[int], *, weight: float, seed: int) -> Tensor:
    """Return (1 − `weight`) · a + `weight` · b of two different members a and b: raw [n, D]."""
    rows = torch.empty(len(indices), bank.dim)
    for row, index in zip(rows, indices, strict=True):
        pair = numpy_generator(seed, "baseline/interpolation", index).choice(len(bank), 2, replace=False)
        first, second = bank.batch(pair)
        row.copy_(first.lerp(second, weight))
    return rows


def ensemble(bank: Bank) -> Tensor:
    """Return the average of all K rows as one row [1, D]: the *ensemble* of arXiv 2402.13144, table 1."""
    return _mean(bank, range(len(bank)))[None]


def _mean(bank: Bank, members: Sequence[int]) -> Tensor:
    """Return the average of raw rows [D], added up in f64 one at a time."""
    total = torch.zeros(bank.dim, dtype=torch.float64)
    for member in members:
        total += bank.batch([member])[0]
    return (total / len(members)).float()
