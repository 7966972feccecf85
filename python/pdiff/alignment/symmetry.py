"""Permute the hidden units of networks, and match those of one network to those of another.

Ainsworth, Hayase and Srinivasa, *Git Re-Basin* (arXiv 2209.04836), section 3.2: with all other permutations
fixed, the one of a group of units that brings two networks closest solves a linear assignment problem;
groups take turns until none improves. The outcome is a local optimum, an upper bound of the true distance.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pdiff.alignment.groups import Group, UnitAxis
from pdiff.bank import Bank

_SWEEPS = 50
_GAIN = 1e-9
"""Smallest gain that counts, over the product of the norms: it keeps rounding from going round in circles."""

Values = NDArray[np.float64]
Order = NDArray[np.int64]
"""Of a group: the unit that takes each place."""
Orders = list[Order]
"""An order for each group."""
Place = tuple[int, tuple[int, ...]]
"""Where a tensor lies in a vector: its first number and its shape."""


class Symmetry:
    """Groups of hidden units whose numbers lie in vectors, such as the rows of a bank."""

    def __init__(self, places: Mapping[str, Place], groups: Sequence[tuple[int, Sequence[UnitAxis]]]) -> None:
        self.units = [units for units, _ in groups]
        self._blocks = [[_block(places[axis.tensor], axis, units) for axis in axes] for units, axes in groups]

    def __len__(self) -> int:
        return len(self.units)

    def permuted(self, values: NDArray[Any], orders: Sequence[Order]) -> NDArray[Any]:
        """Return a copy of `values` [D], of any dtype, with the units of each group in another order."""
        values = values.copy()
        for group, order in enumerate(orders):
            self._move(values, group, order)
        return values

    def _move(self, values: NDArray[Any], group: int, order: Order) -> None:
        """Put the units of one group into another order, in place."""
        for block in self._blocks[group]:  # one after the other: a square matrix may have it on both sides
            units = block.of(values)
            units[:] = units[:, order]

    def match(self, values: Values, target: Values) -> Orders:
        """Return the orders that bring `values` [D] close to `target` [D].

        Groups take turns in their order, from the given one on, so the same vectors give the same.
        """
        orders = self.unchanged()
        least = _GAIN * float(np.linalg.norm(values) * np.linalg.norm(target))
        likeness, idle = float(target @ values), 0
        for turn in range(_SWEEPS * len(self)):
            group = turn % len(self)
            order = self._assignment(group, values, target)
            moved = values.copy()
            self._move(moved, group, order)
            gain = float(target @ moved) - likeness
            idle = 0 if gain > least else idle + 1
            if gain > least:
                values, likeness = moved, likeness + gain
                orders[group] = orders[group][order]
            elif idle == len(self):
                break
        return orders

    def unchanged(self) -> Orders:
        """Return the orders that leave everything where it is."""
        return [np.arange(units) for units in self.units]

    def _assignment(self, group: int, values: Values, target: Values) -> Order:
        """Return the order of a group's units that is best as far as each of its axes goes by itself."""
        from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 (slow to import, and seldom needed)

        over = ((0, 2), (0, 2))
        likeness = sum(
            np.tensordot(block.of(target), block.of(values), over) for block in self._blocks[group]
        )
        return np.asarray(linear_sum_assignment(likeness, maximize=True)[1])


class _Block(NamedTuple):
    """The numbers of a tensor in a vector, as [stretches, units, numbers of a unit in a stretch]."""

    begin: int
    shape: tuple[int, int, int]

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return them as a view of a vector."""
        return values[self.begin : self.begin + prod(self.shape)].reshape(self.shape)


def _block(place: Place, axis: UnitAxis, units: int) -> _Block:
    begin, shape = place
    stretches = prod(shape[: axis.dimension]) * axis.outer
    return _Block(begin, (stretches, units, prod(shape) // (stretches * units)))


def row_places(bank: Bank) -> dict[str, Place]:
    """Return where each tensor of a bank's rows lies, under all its names."""
    places = {segment.name: (segment.begin, segment.shape) for segment in bank.layout.segments}
    tied = bank.manifest.tied.items()
    return places | {alias: places[name] for alias, name in tied if name in places}


def whole(groups: Sequence[Group], places: Mapping[str, Place]) -> list[Group]:
    """Return the groups all of whose tensors have a place: permuting a part of one changes the function."""
    return [group for group in groups if all(axis.tensor in places for axis in group.axes)]


def row_symmetry(bank: Bank, groups: Sequence[Group]) -> Symmetry:
    """Return the symmetry of a bank's rows, of the groups that they hold whole."""
    places = row_places(bank)
    return Symmetry(places, [(group.units, group.axes) for group in whole(groups, places)])
