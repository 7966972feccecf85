"""Hold the batches of a split where the network is, or read them again for every model."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdiff.tasks.data import Batch, SplitData, count, moved, tensors_in

_SHARE = 4
"""Batches may take one in so many of the bytes that are free."""


class SplitBatches:
    """The batches of a split, `size` samples each, on `device`.

    They are held if they fit into `budget` bytes, by default a quarter of what is free. Else they are read
    anew by each iteration, which for a dataset means to load every sample again for every model. Two tensors
    are always held: their inputs stay where they are if they do not fit.
    """

    def __init__(self, data: SplitData, size: int, device: torch.device, budget: int | None = None) -> None:
        self._data, self._size, self._device = data, size, device
        budget = available_bytes(device) // _SHARE if budget is None else budget
        tensors = data.tensors
        self.held = self._read(budget) if tensors is None else self._placed(*tensors, budget)
        """All batches, or None if they are read again; targets are on the device, inputs mostly."""
        held = self.held
        self.samples = len(data) if held is None else sum(count(targets) for _, targets in held)
        """N, the samples of the split."""

    def __iter__(self) -> Iterator[Batch]:
        if self.held is not None:
            yield from self.held
            return
        for inputs, targets in self._data.batches(self._size):
            yield inputs, moved(targets, self._device)

    def _placed(self, inputs: Tensor, targets: Tensor, budget: int) -> list[Batch]:
        inputs = inputs.to(self._device) if inputs.nbytes < budget else inputs
        parts = (torch.split(each, self._size) for each in (inputs, targets.to(self._device)))
        return list(zip(*parts, strict=True))

    def _read(self, budget: int) -> list[Batch] | None:
        """Return all batches, or None as soon as they are too large."""
        held = []
        for batch in self._data.batches(self._size):
            budget -= sum(tensor.nbytes for tensor in tensors_in(batch))
            if budget < 0:
                return None
            held.append(moved(batch, self._device))
        return held


def training_inputs(data: SplitData, size: int, device: torch.device) -> Sequence[Any]:
    """Return the inputs of training data in batches of about one size, so that none is a single sample.

    An iterable has its own batches. Inputs that are no tensor stay on the CPU.
    """
    n = len(data)
    batches = -(-n // size)
    if data.tensors is not None:
        inputs = data.tensors[0]
        fits = inputs.nbytes < available_bytes(device) // _SHARE
        return torch.tensor_split(inputs.to(device) if fits else inputs, batches)
    return [inputs for inputs, _ in data.batches(-(-n // batches))]


def available_bytes(device: torch.device) -> int:
    """Return the bytes that are free on a device; where the CPU's are not known, half of what there are."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with suppress(OSError), Path("/proc/meminfo").open() as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
