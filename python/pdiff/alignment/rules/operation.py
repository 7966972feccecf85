"""Look at one operation of a recorded graph, and at the axes of what it reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx

from pdiff.alignment.axes import Axes, join, size
from pdiff.tasks.recording import SHAPE

Values = dict[fx.Node, Any]
"""The axes of each node's value: `Axes`, or a tuple of them."""

CONTRACTED = "contracted"
"""Of a node's `meta`: whether a layer reads its value."""


@dataclass(frozen=True)
class Operation:
    """One operation; its operands are counted as in ATen's schema."""

    node: fx.Node
    values: Values
    """The axes of every value before it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of its value, if that is one tensor."""
        found: tuple[int, ...] = self.node.meta[SHAPE]
        return found

    def shape_of(self, index: int) -> tuple[int, ...]:
        """Return the sizes of one of its values; none where nothing reads it."""
        items = (user for user in self.node.users if user.args[1] == index)
        return next((item.meta[SHAPE] for item in items), ())

    def argument(self, name: str) -> Any:
        """Return an argument by its name in the schema, its default where it is not given."""
        schema: Any = self.node.target
        for place, argument in enumerate(schema._schema.arguments):
            if argument.name == name:
                given = self.node.args[place] if place < len(self.node.args) else None
                given = self.node.kwargs.get(name, given)
                return argument.default_value if given is None else given
        return None

    def axes(self, index: int) -> Axes:
        """Return the axes of operand `index`, a tensor."""
        found: Axes = self.values[self.node.args[index]]  # type: ignore[index]
        return found

    def axes_of(self, operands: Sequence[Any]) -> list[Axes]:
        """Return the axes of those operands that are tensors: weights may be missing."""
        return [self.values[operand] for operand in operands if isinstance(operand, fx.Node)]

    def dim(self, rank: int, name: str = "dim") -> int:
        """Return a dimension among `rank` that it is given, counted from the front."""
        given: int = self.argument(name)
        return given % rank

    def contracts(self, *indices: int) -> None:
        """Note that these operands are read by a layer."""
        for index in indices:
            self.node.args[index].meta[CONTRACTED] = True  # type: ignore[union-attr]


Rule = Callable[[Operation], Any]


def broadcast(operand: Axes, out: Axes) -> None:
    """Join the axes of an operand with those of a value, from the last on; axes of length 1 are repeated."""
    for ours, theirs in zip(reversed(operand), reversed(out), strict=False):
        if size(ours) > 1:
            join(ours, theirs)
