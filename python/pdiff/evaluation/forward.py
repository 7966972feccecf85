"""The outputs of a network on fixed batches, again and again while some of its tensors change."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.evaluation.trunk import Halves

__all__ = ["RepeatedForward"]


class RepeatedForward:
    """Runs `network` on batch i as often as asked, computing what `halves` share only once.

    The shared activations that cross the boundary are kept for the first batches, as many as fit into
    `budget` bytes; the other batches go through the whole network. So do all of them if `halves` is None
    or does not repeat the network bit for bit on the first batch.
    """

    def __init__(
        self, network: nn.Module, batches: Sequence[Tensor], halves: Halves | None, budget: int
    ) -> None:
        self._network = network
        self._batches = batches
        self._tail: nn.Module | None = None
        self._writes = False
        self._boundaries: list[tuple[Any, ...]] = []
        if halves is not None and self._is_exact(halves):
            self._tail = halves.tail
            self._fill(halves.trunk, budget)

    @property
    def cached(self) -> int:
        """Batches whose shared activations are kept."""
        return len(self._boundaries)

    @torch.inference_mode()
    def __call__(self, index: int) -> Any:
        """Return the network's outputs on batch `index`, with its tensors as they are now."""
        if self._tail is None or index >= len(self._boundaries):
            return self._network(self._batches[index].clone())  # a forward may write to its input
        boundary = self._boundaries[index]
        return self._tail(*(_copy(boundary) if self._writes else boundary))

    @torch.inference_mode()
    def _is_exact(self, halves: Halves) -> bool:
        """Return whether the halves repeat the network; notes whether the tail writes to the boundary."""
        inputs = self._batches[0]
        with torch.inference_mode(False), torch.no_grad():  # inference tensors do not count their versions
            boundary = halves.trunk(inputs.clone())
        versions = [tensor._version for tensor in _tensors(boundary)]
        outputs = halves.tail(*boundary)
        self._writes = versions != [tensor._version for tensor in _tensors(boundary)]
        return _same(outputs, self._network(inputs.clone()))

    @torch.inference_mode()
    def _fill(self, trunk: nn.Module, budget: int) -> None:
        """Keep the boundaries of the first batches."""
        for inputs in self._batches:
            boundary = trunk(inputs.clone())
            storages = {s.data_ptr(): s.nbytes() for s in map(Tensor.untyped_storage, _tensors(boundary))}
            budget -= sum(storages.values())
            if budget < 0:
                return
            self._boundaries.append(boundary)


def _tensors(value: object) -> list[Tensor]:
    """Return the tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [tensor for item in value for tensor in _tensors(item)]
    return []


def _copy(value: Any) -> Any:
    """Return nested values with their tensors copied."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_copy(item) for item in value)
    return value


def _same(a: object, b: object) -> bool:
    """Return whether two outputs hold tensors, and the same ones bit for bit (NaN equals NaN)."""
    ours, theirs = _tensors(a), _tensors(b)
    if not ours or len(ours) != len(theirs):
        return False
    return all(
        x.shape == y.shape and bool(((x == y) | (x.isnan() & y.isnan())).all())
        for x, y in zip(ours, theirs, strict=True)
    )
