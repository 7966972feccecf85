"""Put the numbers of models into the tensors of a network, in place."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pdiff.bank import Bank
from pdiff.common.errors import InputError
from pdiff.common.wording import shown, some

_NAMED = 2
"""Tensors that a message names; of others it says how many."""


class Assignment:
    """Puts raw rows [D] of `bank` into the tensors `state` of a network, which stay where they are.

    Raises `InputError` if a value does not fit its dtype.
    """

    def __init__(self, bank: Bank, state: Mapping[str, Tensor]) -> None:
        self._bank, self._state = bank, state
        segments = bank.layout.segments
        self._sizes = [segment.end - segment.begin for segment in segments]
        names = {segment.name: [segment.name] for segment in segments}
        for alias, name in bank.manifest.tied.items():
            if name in names:
                names[name].append(alias)
        self._order = [index for index, found in enumerate(names.values()) for _ in found]
        into = [state[name] for found in names.values() for name in found]
        plain = all(segment.dtype == "F32" for segment in segments)
        self._flat = [tensor.view(-1) for tensor in into] if plain and all(map(_simple, into)) else None

    def __call__(self, row: Tensor) -> None:
        """Make the network that of a raw row [D]."""
        if self._flat is None:
            for name, tensor in self._bank.subset(row).items():
                self._state[name].copy_(tensor)
            return
        parts = torch.split(row, self._sizes)
        torch._foreach_copy_(self._flat, [parts[index] for index in self._order])


def _simple(tensor: Tensor) -> bool:
    """Return whether a tensor holds its numbers as a row does."""
    return tensor.dtype == torch.float32 and tensor.is_contiguous()


def load(network: nn.Module, state_dict: dict[str, Tensor], name: str) -> None:
    """Load a checkpoint strictly; the error says in one line how the network and the checkpoint differ."""
    try:
        network.load_state_dict(state_dict, strict=True)
    except RuntimeError as error:
        reasons = _differences(network.state_dict(), state_dict) or shown(" ".join(str(error).split()))
        raise InputError(
            f"the network {name!r} does not take the bank's checkpoints: {reasons}; "
            "say which network they are of with --task and --arch"
        ) from None


def _differences(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    """Say which tensors only one of network and checkpoints has, else which have other shapes in them."""
    parts = [
        f"{whose} {some(only, _NAMED)}"
        for whose, only in (
            ("only it has", [name for name in ours if name not in theirs]),
            ("only they have", sorted(theirs.keys() - ours.keys())),
        )
        if only
    ]
    shapes = [
        f"{shown(name)} (it {_shape(tensor)}, they {_shape(theirs[name])})"
        for name, tensor in ours.items()
        if name in theirs and tensor.shape != theirs[name].shape
    ]
    if shapes and not parts:
        parts.append(f"of other shapes {some(shapes, _NAMED)}")
    return "; ".join(parts)


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a single number"
