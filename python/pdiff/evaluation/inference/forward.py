"""Run a network on fixed batches, again and again while some of its tensors change."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.evaluation.inference.operations import Halves, halve
from pdiff.tasks.data import moved, tensors_in


@dataclass(frozen=True)
class _Proved:
    """Halves that repeated the network bit for bit with every variant."""

    halves: Halves
    writes: bool
    """Whether the tail writes to the boundary."""

    def outputs(self, boundary: tuple[Any, ...]) -> Any:
        return self.halves.tail(*(_copy(boundary) if self.writes else boundary))


class RepeatedForward:
    """Runs `network` on batch i as often as asked, computing what no tensor in `varying` reaches only once.

    The network is split by its operations on a batch of each shape. `variants` put different models into
    the network: with each of them the halves must give the whole network's bits on the first batch of a
    shape, with the last of them on every batch; one bit off, and nothing is cached. The shared activations
    that cross the boundary are cached for the first batches, as many as fit into `budget` bytes; the other
    batches go through the whole network, and so do all of them where one is anything else than one tensor.
    """

    def __init__(
        self,
        network: nn.Module,
        batches: Sequence[Any],
        varying: Collection[str],
        variants: Sequence[Callable[[], None]],
        budget: int,
    ) -> None:
        self._network = network
        self._batches = batches
        self._varying = varying
        self._variants = variants
        self._device = next((tensor.device for tensor in network.state_dict().values()), torch.device("cpu"))
        tensors = all(isinstance(batch, Tensor) for batch in batches)
        self._cached = self._fill(budget) if tensors else []

    @property
    def cached(self) -> int:
        """Batches whose shared activations are cached."""
        return len(self._cached)

    @torch.inference_mode()
    def __call__(self, index: int) -> Any:
        """Return the network's outputs on batch `index`, with its tensors as they are now."""
        if index >= len(self._cached):
            return self._network(self._fresh(self._batches[index]))
        proved, boundary = self._cached[index]
        return proved.outputs(boundary)

    def _fresh(self, inputs: Any) -> Any:
        """Return a copy where the network is: a forward may write to its input."""
        return moved(inputs, self._device, copy=True)

    @torch.inference_mode(False)  # whose tensors do not count their versions
    @torch.no_grad()
    def _prove(self, halves: Halves, inputs: Tensor) -> _Proved | None:
        """Return the halves if they repeat the network with every variant, and whether the tail writes."""
        writes = False
        for put in self._variants:
            put()
            boundary = halves.trunk(self._fresh(inputs))
            versions = [tensor._version for tensor in tensors_in(boundary)]
            with torch.inference_mode():
                outputs = halves.tail(*boundary)
                writes |= versions != [tensor._version for tensor in tensors_in(boundary)]
                if not _same(outputs, self._network(self._fresh(inputs))):
                    return None
        return _Proved(halves, writes)

    @torch.inference_mode()
    def _fill(self, budget: int) -> list[tuple[_Proved, tuple[Any, ...]]]:
        """Return halves and boundary of the first batches; of none if one does not repeat the network."""
        cached: list[tuple[_Proved, tuple[Any, ...]]] = []
        shapes: dict[torch.Size, _Proved] = {}
        counted = {tensor.untyped_storage().data_ptr() for tensor in self._network.state_dict().values()}
        for inputs in self._batches:
            proved = shapes.get(inputs.shape) or self._split(inputs)
            if proved is None:
                return cached
            shapes[inputs.shape] = proved
            boundary = proved.halves.trunk(self._fresh(inputs))
            storages = {s.data_ptr(): s.nbytes() for s in map(Tensor.untyped_storage, tensors_in(boundary))}
            budget -= sum(size for pointer, size in storages.items() if pointer not in counted)
            if budget < 0:
                return cached
            if not _same(proved.outputs(boundary), self._network(self._fresh(inputs))):
                return []
            counted |= storages.keys()
            cached.append((proved, boundary))
        return cached

    def _split(self, inputs: Tensor) -> _Proved | None:
        """Split the network by its operations on a batch of this shape."""
        halves = halve(self._network, self._varying, self._fresh(inputs))
        return None if halves is None else self._prove(halves, inputs)


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
    ours, theirs = tensors_in(a), tensors_in(b)
    if not ours or len(ours) != len(theirs):
        return False
    return all(
        x.shape == y.shape and bool(((x == y) | (x.isnan() & y.isnan())).all())
        for x, y in zip(ours, theirs, strict=True)
    )
