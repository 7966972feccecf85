"""Where the values of a traced network lie: samples last, with room around what convolutions read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn

__all__ = ["Layout", "Unsuited", "Value", "samples_last"]

_VIEWS = (nn.BatchNorm1d, nn.ReLU, nn.Flatten, nn.Identity, nn.Dropout)
"""Modules whose value lies in the memory of what they read, or may."""


class Unsuited(Exception):  # noqa: N818 (not an error: the network is run as it is)
    """The network does something that has no fast way here."""


@dataclass(frozen=True)
class Value:
    """u + shift: activations as [L, C, B], which the network has as [B, C, L] or as [B, C·L]."""

    data: Tensor
    """u between `pad` more places at either end: [pad + L + pad, C, B]."""
    shift: Tensor
    """[C]."""
    pad: int = 0
    flat: bool = False
    blocks: tuple[Tensor, ...] | None = None
    """The inputs have memory for each block; `data` is the first of it."""

    @property
    def inner(self) -> Tensor:
        """u, [L, C, B]."""
        return self.data[self.pad : self.data.shape[0] - self.pad]


class Layout:
    """Gives the values of a network's nodes their memory; `modules` are the network's, by name."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._modules = modules

    def inputs(self, node: fx.Node, blocks: Sequence[Tensor], flat: bool) -> Value:
        """Return inputs [L, C, B] in memory that the first layer can read as it is."""
        room = [self.room(node, *blocks[0].shape) for _ in blocks]
        for value, block in zip(room, blocks, strict=True):
            value.inner[..., : block.shape[2]] = block
        return replace(room[0], flat=flat, blocks=tuple(value.data for value in room))

    def room(self, node: fx.Node, places: int, channels: int, samples: int) -> Value:
        """Return memory for a node's value, with what the convolutions that read it want at either end."""
        pad = self._pad(node)
        return Value(torch.zeros(places + 2 * pad, channels, samples), torch.zeros(channels), pad)

    def _pad(self, node: fx.Node) -> int:
        """Return how many places outside a node's value the convolutions want that read its memory."""
        wanted = [0]
        for user in node.users:
            module = self.module(user)
            if type(module) is nn.Conv1d and not isinstance(module.padding, str):
                wanted.append(module.padding[0])
            elif type(module) in _VIEWS:
                wanted.append(self._pad(user))
        return max(wanted)

    def alone(self, node: fx.Node) -> bool:
        """Return whether nobody reads what lies in a node's memory but the node's one user."""
        if len(node.users) > 1 or node.op == "placeholder":
            return False
        return type(self.module(node)) not in _VIEWS or self.alone(node.all_input_nodes[0])

    def module(self, node: fx.Node) -> nn.Module | None:
        """Return the module that a node calls, if it calls one."""
        return self._modules[str(node.target)] if node.op == "call_module" else None

    def norm_after(self, node: fx.Node) -> nn.BatchNorm1d | None:
        """Return the BatchNorm that alone reads the product that a node is."""
        if type(self.module(node)) not in (nn.Conv1d, nn.Linear) or len(node.users) != 1:
            return None
        norm = self.module(next(iter(node.users)))
        return norm if type(norm) is nn.BatchNorm1d and norm.running_var is not None else None


def samples_last(inputs: Tensor) -> Tensor:
    """Return inputs as [L, C, B]; features are channels of one place."""
    return inputs.permute(2, 1, 0) if inputs.dim() == 3 else inputs.flatten(1).t()[None]
