"""Put the numbers of models into the tensors of a network, in place."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.bank.spectral import layers


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
        plain = all(segment.dtype == "F32" for segment in segments) and not layers(names)
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
