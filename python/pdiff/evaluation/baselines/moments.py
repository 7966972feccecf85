"""What the families share: a bank's mean and principal axes, streamed, and the way back to raw rows."""

import torch
from torch import Tensor

from pdiff.bank import Bank, Normalizer
from pdiff.common.artifacts import TORCH_DTYPES

__all__ = ["denormalise", "mean_row", "principal_axes"]

_TOLERANCE = 1e-8
"""Smallest eigenvalue that counts, relative to the largest: below it there is rounding only."""

_LARGEST = torch.finfo(torch.float32).max


def mean_row(bank: Bank, normalizer: Normalizer) -> Tensor:
    """Return the mean of the normalised rows: f32 [D]."""
    members = len(bank)
    return bank.combine(torch.full((1, members), 1 / members), normalizer)[0]


def principal_axes(bank: Bank, normalizer: Normalizer) -> Tensor:
    """Return each principal axis times the bank's standard deviation along it: f64 [R, K], R < K.

    As coefficients over the centred rows. With the Gram matrix of these X Xᵀ = V Λ Vᵀ, the j-th axis times
    the norm √λ_j of the scores along it is row j of Vᵀ X; over K members that norm is √K standard deviations.
    """
    values, vectors = torch.linalg.eigh(bank.gram(normalizer))  # ascending
    kept = values > _TOLERANCE * values[-1].clamp(min=0)
    axes: Tensor = vectors[:, kept].flip(1).T / len(bank) ** 0.5
    return axes


def denormalise(bank: Bank, rows: Tensor, normalizer: Normalizer) -> None:
    """Turn normalised rows [n, D] into raw ones, in place; what is too large for a dtype is its largest.

    Far from the bank a logarithm's inverse overflows, and the models of a sweep have to exist to be bad.
    """
    normalizer.invert(rows.numpy())
    for segment in bank.layout.segments:
        largest = min(torch.finfo(TORCH_DTYPES[segment.dtype]).max, _LARGEST)
        rows[:, segment.begin : segment.end].clamp_(-largest, largest)
