"""The outputs of a network on fixed batches, again and again while some of its tensors change."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.evaluation.operations import halve_operations
from pdiff.evaluation.trunk import Halves, halve

__all__ = ["RepeatedForward"]


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

    The network is split symbolically or, if that does not repeat it, by its operations on a batch of each
    shape. `variants` put different models into the network: with each of them the halves must give the
    whole network's bits on the first batch of a shape, with the last of them on every batch; one bit off,
    and nothing is kept. The shared activations that cross the boundary are kept for the first batches, as
    many as fit into `budget` bytes; the other batches go through the whole network.
    """

    def __init__(
        self,
        network: nn.Module,
        batches: Sequence[Tensor],
        varying: Collection[str],
        variants: Sequence[Callable[[], None]],
        budget: int,
    ) -> None:
        self._network = network
        self._batches = batches
        self._varying = varying
        self._variants = variants
        self._device = next((tensor.device for tensor in network.state_dict().values()), None)
        self._kept: list[tuple[_Proved, tuple[Any, ...]]] = []
        symbolic = halve(network, varying)
        proved = None if symbolic is None else self._prove(symbolic, batches[0])
        found = self._fill(proved, budget) if proved else None
        if found is None:
            found = self._fill(None, budget) or []
        self._kept = found

    @property
    def cached(self) -> int:
        """Batches whose shared activations are kept."""
        return len(self._kept)

    @torch.inference_mode()
    def __call__(self, index: int) -> Any:
        """Return the network's outputs on batch `index`, with its tensors as they are now."""
        if index >= len(self._kept):
            return self._network(self._fresh(self._batches[index]))
        proved, boundary = self._kept[index]
        return proved.outputs(boundary)

    def _fresh(self, inputs: Tensor) -> Tensor:
        """Return a copy where the network is: a forward may write to its input."""
        return inputs.to(self._device, copy=True)

    @torch.inference_mode(False)  # whose tensors do not count their versions
    @torch.no_grad()
    def _prove(self, halves: Halves, inputs: Tensor) -> _Proved | None:
        """Return the halves if they repeat the network with every variant, and whether the tail writes."""
        writes = False
        for put in self._variants:
            put()
            boundary = halves.trunk(self._fresh(inputs))
            versions = [tensor._version for tensor in _tensors(boundary)]
            with torch.inference_mode():
                outputs = halves.tail(*boundary)
                writes |= versions != [tensor._version for tensor in _tensors(boundary)]
                if not _same(outputs, self._network(self._fresh(inputs))):
                    return None
        return _Proved(halves, writes)

    @torch.inference_mode()
    def _fill(self, proved: _Proved | None, budget: int) -> list[tuple[_Proved, tuple[Any, ...]]] | None:
        """Return the boundaries of the first batches; None if one of them does not repeat the network.

        Without `proved`, halves are found for each shape.
        """
        kept: list[tuple[_Proved, tuple[Any, ...]]] = []
        shapes = dict.fromkeys({inputs.shape for inputs in self._batches}, proved)
        seen = {tensor.untyped_storage().data_ptr() for tensor in self._network.state_dict().values()}
        for inputs in self._batches:
            way = shapes[inputs.shape] or self._by_operations(inputs)
            if way is None:
                return kept
            shapes[inputs.shape] = way
            boundary = way.halves.trunk(self._fresh(inputs))
            storages = {s.data_ptr(): s.nbytes() for s in map(Tensor.untyped_storage, _tensors(boundary))}
            budget -= sum(size for pointer, size in storages.items() if pointer not in seen)
            if budget < 0:
                return kept
            if not _same(way.outputs(boundary), self._network(self._fresh(inputs))):
                return None
            seen |= storages.keys()
            kept.append((way, boundary))
        return kept

    def _by_operations(self, inputs: Tensor) -> _Proved | None:
        """Split the network by its operations on a batch of this shape."""
        halves = halve_operations(self._network, self._varying, self._fresh(inputs))
        return None if halves is None else self._prove(halves, inputs)


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
