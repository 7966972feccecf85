"""Where the values of a traced network lie: samples last."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx, nn

from pdiff._core import SmallNetwork

__all__ = ["Layout", "Unsuited", "Value"]

_VIEWS = (nn.BatchNorm1d, nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout)
"""Modules whose value lies in the rows of what they read."""


class Unsuited(Exception):  # noqa: N818 (not an error: the network is run as it is)
    """The network does something that has no fast way here."""


@dataclass(frozen=True)
class Value:
    """Activations [L, C] of a sample, which the network has as [C, L] or as [C·L]."""

    first: int
    """The row of the first place's first channel."""
    places: int
    """L."""
    channels: int
    """C."""
    flat: bool = False

    @property
    def rows(self) -> int:
        """L·C."""
        return self.places * self.channels

    @property
    def shape(self) -> tuple[int, int, bool]:
        """What two values have in common that can be added."""
        return self.places, self.channels, self.flat


class Layout:
    """Gives the values of a network's nodes their rows; `modules` are the network's, by name."""

    def __init__(self, modules: Mapping[str, nn.Module], rows: SmallNetwork) -> None:
        self._modules, self._rows = modules, rows

    def room(self, places: int, channels: int, flat: bool = False) -> Value:
        """Return rows for a value."""
        try:
            return Value(self._rows.room(places * channels), places, channels, flat)
        except ValueError as error:
            raise Unsuited(str(error)) from None

    def module(self, node: fx.Node) -> nn.Module | None:
        """Return the module that a node calls, if it calls one."""
        return self._modules[str(node.target)] if node.op == "call_module" else None

    def norm_after(self, node: fx.Node) -> nn.BatchNorm1d | None:
        """Return the BatchNorm that alone reads the product that a node is."""
        if type(self.module(node)) not in (nn.Conv1d, nn.Linear) or len(node.users) != 1:
            return None
        norm = self.module(next(iter(node.users)))
        return norm if type(norm) is nn.BatchNorm1d and norm.running_var is not None else None

    def relu_after(self, node: fx.Node) -> fx.Node | None:
        """Return the ReLU that alone reads a node's value, perhaps normalised, passed on or shaped anew."""
        while len(node.users) == 1:
            node = next(iter(node.users))
            if type(self.module(node)) is nn.ReLU:
                return node
            if type(self.module(node)) not in _VIEWS:
                return None
        return None
