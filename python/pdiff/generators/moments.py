"""Compute what the families share: averages and deviations of members, and the way back to raw rows.

Rows are measured in the units of the whole bank (`View.normalizer`): one mean and one standard deviation a
tensor, running variances in log space so that whatever is added to them leaves them positive. Means,
deviations and axes are those of the members alone, so that nothing is learned from a member held out.
"""

import numpy as np
import torch
from torch import Tensor

from pdiff.bank import Normalizer, View
from pdiff.common.errors import UsageError
from pdiff.common.tensors import TORCH_DTYPES

_LARGEST = torch.finfo(torch.float32).max


def require_members(members: View, fewest: int, family: str) -> None:
    """Raise `UsageError` if there are fewer than `fewest` members, which is what `family` needs."""
    if len(members) < fewest:
        raise UsageError(f"{members.bank.path}: {family} needs {fewest} members or more, not {len(members)}")


def average_row(members: View, chosen: list[int]) -> Tensor:
    """Return the average of raw rows `chosen`: f32 [D], added up in f64 one at a time, in this order."""
    total = torch.zeros(members.dim, dtype=torch.float64)
    for member in chosen:
        total += members.batch([member])[0]
    return (total / len(chosen)).float()


def element_normalizer(members: View) -> Normalizer:
    """Return the normaliser that brings each number to mean 0 and deviation 1 over the members."""
    if _whole(members):
        return members.normalizer("element")
    mean, std = _element_moments(members)
    log_scale = members.statistics["log_scale"].numpy()
    return Normalizer.from_statistics(members.layout, "element", mean.numpy(), std.numpy(), log_scale)


def element_std(members: View) -> Tensor:
    """Return the standard deviation of each number over the members: f64 [D], of logarithms of variances."""
    return members.statistics["element_std"] if _whole(members) else _element_moments(members)[1]


def tensor_std(members: View) -> Tensor:
    """Return the unit of the normaliser `tensor` for each number: f64 [D], 1 for a tensor without spread."""
    sizes = torch.tensor([segment.end - segment.begin for segment in members.layout.segments])
    std = members.statistics["tensor_std"]
    return std.where(std > 0, 1.0).repeat_interleave(sizes)


def denormalise(members: View, rows: Tensor, normalizer: Normalizer) -> None:
    """Turn normalised rows [n, D] into raw ones, in place; what is too large for a dtype is its largest.

    Far from the bank a logarithm's inverse overflows, and the models of a sweep have to exist to be bad.
    """
    normalizer.invert(rows.numpy())
    for segment in members.layout.segments:
        largest = min(torch.finfo(TORCH_DTYPES[segment.dtype]).max, _LARGEST)
        rows[:, segment.begin : segment.end].clamp_(-largest, largest)


def _whole(members: View) -> bool:
    """Return whether the view has every member of the bank, in the bank's order."""
    return np.array_equal(members.indices, np.arange(len(members.bank)))


def _element_moments(members: View) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each number over the members: f64 [D] each.

    One pass over deviations from the first member, so that what no member changes deviates by exactly 0.
    """
    log_scale = members.statistics["log_scale"].numpy()
    zeros, ones = np.zeros(members.dim), np.ones(members.dim)
    plain = Normalizer.from_statistics(members.layout, "element", zeros, ones, log_scale)
    first = members.batch([0], plain)[0].double()
    total, squares = torch.zeros_like(first), torch.zeros_like(first)
    for member in range(1, len(members)):
        deviation = members.batch([member], plain)[0].double() - first
        total += deviation
        squares.addcmul_(deviation, deviation)
    shift = total / len(members)
    return first + shift, (squares / len(members) - shift.square()).clamp_(min=0).sqrt()
