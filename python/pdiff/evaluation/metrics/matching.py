"""Match hidden units, which have no order, before distances between networks are measured.

Ainsworth, Hayase and Srinivasa, *Git Re-Basin* (arXiv 2209.04836), section 3.2: with all other permutations
fixed, the one of a group of units that brings two networks closest solves a linear assignment problem;
groups take turns until none improves. The outcome is a local optimum, an upper bound of the true distance.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdiff._core import Layout
from pdiff.bank import Bank, Normalizer
from pdiff.common.errors import UsageError
from pdiff.tasks.base import Permutations, Task

_SWEEPS = 50
_GAIN = 1e-9
"""Smallest gain that counts, relative to the squared norms: it keeps rounding from going round in circles."""

Row = NDArray[np.floating]
Order = NDArray[np.int64]


class Symmetry:
    """The groups of hidden units of one network that can be permuted without changing its function.

    A group counts if all its tensors are in the layout: permuting a part of one changes the function. A
    dimension that is a multiple of the group's size is that many units of consecutive numbers each, as
    channels are after flattening.
    """

    def __init__(self, layout: Layout, permutations: Permutations) -> None:
        places = {segment.name: segment for segment in layout.segments}
        self.groups = [group for group in permutations if all(name in places for name, _ in group)]
        # For each group the columns of a row by units [units, numbers that belong to one unit].
        self.columns = [
            _unit_columns([(places[name].begin, places[name].shape, axis) for name, axis in group])
            for group in self.groups
        ]

    def align(self, row: Row, target: Row) -> Row:
        """Return the row [D] with its units permuted so that it comes close to `target` [D].

        Groups take turns in their order, from the given permutation on, so the same rows give the same.
        """
        least = _GAIN * (float(row @ row) + float(target @ target))
        for _ in range(_SWEEPS):
            improved = False
            for columns in self.columns:
                order, gain = _match(row[columns], target[columns])
                if gain > least:
                    aligned = row.copy()
                    aligned[columns] = row[columns[order]]
                    row, improved = aligned, True
            if not improved:
                break
        return row


def _unit_columns(entries: Sequence[tuple[int, tuple[int, ...], int]]) -> Order:
    """Return which columns belong to each unit: of tensors (first column, shape, axis) → [units, numbers]."""
    units = min(shape[axis] for _, shape, axis in entries)
    parts = []
    for begin, shape, axis in entries:
        if shape[axis] % units:
            raise UsageError(
                f"permutations: {shape[axis]} units cannot move with {units} others; accepted: multiples"
            )
        columns = begin + np.arange(prod(shape)).reshape(shape)
        parts.append(np.moveaxis(columns, axis, 0).reshape(units, -1))
    return np.concatenate(parts, axis=1)


def _match(ours: Row, theirs: Row) -> tuple[Order, float]:
    """Return the order of our units [n, P] nearest to theirs [n, P], and how much Σ ours · theirs gains."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 (slow to import, and seldom needed)

    likeness = theirs @ ours.T  # [their unit, our unit]
    _, order = linear_sum_assignment(likeness, maximize=True)
    gain = likeness[np.arange(len(order)), order].sum() - likeness.trace()
    return order, float(gain)


def aligned_distances(
    bank: Bank, rows: Tensor, normalizer: Normalizer, permutations: Permutations, itself: Tensor | None = None
) -> Tensor:
    """Return each row's L2 distance to the nearest member, after aligning it to each: [M, D] → f64 [M].

    Rows are normalised by one mean and std a tensor, which permutations leave alone. `itself` int64 [M], for
    rows that are members, is the member that does not count. M·K alignments: meant for banks of small
    networks from several trajectories.
    """
    symmetry = Symmetry(bank.layout, permutations)
    nearest = torch.full((len(rows),), torch.inf, dtype=torch.float64)
    ours = rows.double().numpy()
    for member in range(len(bank)):
        target = bank.batch([member], normalizer)[0].double().numpy()
        for index, row in enumerate(ours):
            if itself is None or int(itself[index]) != member:
                distance = float(np.linalg.norm(symmetry.align(row, target) - target))
                nearest[index] = min(float(nearest[index]), distance)
    return nearest


def symmetric_groups(bank: Bank, task: Task, arch: str) -> Permutations:
    """Return the groups of hidden units to align; raises `UsageError` if there is none in the bank."""
    groups = task.permutations(arch)
    if not Symmetry(bank.layout, groups).groups:
        raise UsageError(
            f"--align: {task.name} declares no hidden units of {arch!r} whose weights the bank holds whole; "
            "leave --align out, or declare them (`permutations` of the task)"
        )
    return groups
