"""Keep track of which axes of a network's tensors have to be permuted together.

An axis is a product of parts, the outermost first: flattening [channels, height] gives an axis of two parts.
A part stands for the permutations of its units. Joining two axes says that their units are in the same order,
fixing one that its units stay where they are. All that an operation says of its axes is said by these two, so
what is left in the end leaves the function of the network unchanged.
"""

from collections.abc import Iterable, Sequence
from math import prod

from pdiff.common.errors import InputError


class Part:
    """Units that are permuted, all in the same way as those of the parts that it was joined with."""

    def __init__(self, size: int, *, fixed: bool = False) -> None:
        self.size = size
        self._fixed = fixed
        self._same: Part | None = None
        """What it was joined with, which speaks for both."""
        self._split: tuple[Part, Part] | None = None
        """Its outer and inner part, where its units move in blocks."""

    @property
    def root(self) -> "Part":
        """The part that speaks for all those that it was joined with."""
        part = self
        while part._same is not None:
            part = part._same
        return part

    @property
    def fixed(self) -> bool:
        """Whether its units stay where they are."""
        return self.root._fixed

    def leaves(self) -> "list[Part]":
        """Return what it consists of now, the outermost first; parts of one unit do not count."""
        root = self.root
        if root._split is not None:
            return [leaf for half in root._split for leaf in half.leaves()]
        return [root] if root.size > 1 else []

    def fix(self) -> None:
        """Leave all its units where they are."""
        for leaf in self.leaves():
            leaf._fixed = True

    def split(self, outer: int) -> None:
        """Make of a leaf `outer` blocks of units."""
        assert self._split is None
        assert self.size % outer == 0
        self._split = (Part(outer, fixed=self._fixed), Part(self.size // outer, fixed=self._fixed))

    def unite(self, other: "Part") -> None:
        """Say that two leaves of one size are in the same order."""
        assert self.size == other.size
        if self is not other:
            other._fixed |= self._fixed
            self._same = other


Axis = list[Part]
Axes = list[Axis]
"""The axes of one tensor."""


def leaves(axis: Iterable[Part]) -> Axis:
    """Return the parts of an axis as they are split now."""
    return [leaf for part in axis for leaf in part.leaves()]


def size(axis: Iterable[Part]) -> int:
    """Return the length of an axis."""
    return prod(part.size for part in axis)


def free(shape: Sequence[int]) -> Axes:
    """Return axes whose units may be in any order."""
    return [[Part(length)] for length in shape]


def fixed(shape: Sequence[int]) -> Axes:
    """Return axes whose units have an order."""
    return [[Part(length, fixed=True)] for length in shape]


def fix(axes: Iterable[Axis]) -> None:
    """Leave the units of some axes where they are."""
    for axis in axes:
        for part in axis:
            part.fix()


def join(one: Axis, other: Axis) -> None:
    """Say that two axes are in the same order; `InputError` for axes of different lengths.

    Where one is finer than the other, the other is split; where neither is, both are fixed.
    """
    if size(one) != size(other):
        raise InputError(f"axes of {size(one)} and {size(other)} units cannot be joined")
    one, other = leaves(one), leaves(other)
    while one:
        x, y = one[0], other[0]
        if x.size == y.size:
            x.unite(y)
            one, other = one[1:], other[1:]
        else:
            small, large = sorted((x, y), key=lambda part: part.size)
            if large.size % small.size:
                fix([one, other])
                return
            large.split(small.size)
        one, other = leaves(one), leaves(other)


def blocks(axis: Axis, length: int) -> Axis:
    """Fix the order of an axis's blocks of `length` units; return the axis of one block, shared by all."""
    block = [Part(length)]
    join(axis, [Part(size(axis) // length, fixed=True), *block])
    return block


def viewed(axes: Axes, shape: Sequence[int]) -> Axes:
    """Return the axes of the same numbers, in the same order, in another shape.

    Where an axis of the new shape cuts through units, everything is fixed.
    """
    rest = leaves(part for axis in axes for part in axis)
    found: Axes = []
    for length in shape:
        axis: Axis = []
        while (missing := length // size(axis)) > 1:
            first = rest[0]
            if missing % first.size == 0:
                axis.append(first)
                rest = rest[1:]
            elif first.size % missing == 0:
                first.split(missing)
                rest, axis = leaves(rest), leaves(axis)
            else:
                fix(axes)
                return fixed(shape)
        found.append(axis)
    return found
