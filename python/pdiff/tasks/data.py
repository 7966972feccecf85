"""Read a split of a task as batches of any structure: in order to judge, shuffled to train."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from pdiff import _core
from pdiff.common.blame import fault
from pdiff.common.errors import PdiffError, UsageError
from pdiff.common.torch_rng import torch_generator
from pdiff.tasks.base import Split, Task

Batch = tuple[Any, Any]
"""Inputs and targets of some samples."""


class SplitData:
    """A split of a task's data; `batches` and `shuffled` yield `(inputs, targets)`."""

    def __init__(
        self, task: Task, split: Split, limit: int | None = None, *, device: torch.device | None = None
    ) -> None:
        """Take at most the first `limit` samples; batches come on the CPU, or on `device`.

        Two tensors are kept on a GPU if they take no more than half of its free memory. Raises `UsageError`
        for a split that the task does not give, tensors of different lengths, and what is no data or can be
        read only once.
        """
        self._task, self._split, self._limit, self._device = task, split, limit, device
        self._data = data = self._given()
        if self.tensors is not None:
            inputs, targets = self.tensors
            if len(inputs) != len(targets):
                raise UsageError(f"task {task.name}: {len(inputs)} inputs, {len(targets)} targets ({split})")
            self._data = self._kept((inputs[:limit], targets[:limit]))
        elif self._is_map:
            self._data = data if limit is None else Subset(data, range(min(limit, len(data))))
        elif isinstance(data, Iterator):
            raise UsageError(
                f"task {task.name}: data({split!r}) is an iterator, which can be read only once; return two "
                "tensors, a dataset, a list of batches or an object whose __iter__ begins anew"
            )

    def _given(self) -> Any:
        """Return what the task gives, NumPy arrays as tensors."""
        what = f"task {self._task.name}: data({self._split!r})"
        try:
            data: Any = self._task.data(self._split)
        except PdiffError:
            raise
        except Exception as error:
            hint = "; a split that there is not has to be empty" if isinstance(error, LookupError) else ""
            raise fault(what, error, hint) from error
        if isinstance(data, tuple | list) and len(data) == 2:
            whole = [isinstance(part, Tensor | np.ndarray) for part in data]
            if all(whole) and isinstance(data, tuple):
                return tuple(_tensor(part) for part in data)
            if any(whole):
                kinds = f"{type(data).__name__} of {' and '.join(type(part).__name__ for part in data)}"
                raise UsageError(f"{what} returned a {kinds}; a tuple of two tensors is wanted")
        if not isinstance(data, Dataset | Iterable) or isinstance(data, str | Mapping | Tensor | np.ndarray):
            raise UsageError(
                f"{what} returned a {type(data).__name__}; accepted: two tensors or NumPy arrays, a dataset "
                "of pairs (input, target), an iterable of batches"
            )
        return data

    def _kept(self, tensors: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return two tensors where they are kept: on the device, unless it is a GPU without room."""
        device = self._device
        if device is None:
            return tensors
        room = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else None
        if room is not None and sum(tensor.nbytes for tensor in tensors) > room:
            return tensors
        inputs, targets = (tensor.to(device) for tensor in tensors)
        return inputs, targets

    def _there(self, batch: Batch) -> Batch:
        """Return a batch on the device."""
        return (
            batch if self._device is None else (moved(batch[0], self._device), moved(batch[1], self._device))
        )

    @property
    def tensors(self) -> tuple[Tensor, Tensor] | None:
        """Inputs and targets as two tensors, if that is what the task gives."""
        data = self._data
        if isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
            return data
        return None

    @property
    def _is_map(self) -> bool:
        return isinstance(self._data, Dataset) and hasattr(self._data, "__len__")

    def __len__(self) -> int:
        """Return the number of samples; an iterable of batches is read once for that."""
        if self.tensors is not None:
            return len(self.tensors[1])
        return len(self._data) if self._is_map else sum(count(targets) for _, targets in self._iterated())

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all samples in their fixed order, `size` at a time; an iterable has its own batches."""
        if self.tensors is not None:
            inputs, targets = self.tensors
            found: Iterable[Batch] = zip(torch.split(inputs, size), torch.split(targets, size), strict=True)
        elif self._is_map:
            found = self._loader(range(len(self._data)), size)
        else:
            found = self._iterated()
        yield from map(self._there, found)

    def shuffled(
        self, size: int, *, seed: int, purpose: str, vary: Callable[[Any, torch.Generator], Any] | None = None
    ) -> Iterator[Batch]:
        """Yield training batches without end, in a new order each epoch; the short last one is left out.

        `vary` changes the inputs of each batch at random. An iterable of batches is taken to shuffle itself.
        """
        if not len(self):
            raise UsageError(f"task {self._task.name}: the {self._split} split has no samples")
        for epoch in itertools.count():
            generator = torch_generator(seed, purpose, epoch)
            for inputs, targets in map(self._there, self._epoch(size, generator)):
                yield (inputs if vary is None else vary(inputs, generator)), targets

    def _epoch(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        if self.tensors is None and not self._is_map:
            yield from self._iterated()
            return
        n = len(self)
        size = min(size, n)
        order = torch.randperm(n, generator=generator)[: n - n % size]
        if self.tensors is None:
            yield from self._loader(order.tolist(), size)
        else:
            inputs, targets = self.tensors
            chosen = order.to(inputs.device).view(-1, size)
            yield from ((inputs[each], targets[each]) for each in chosen)

    def _loader(self, order: Iterable[int], size: int) -> Iterator[Batch]:
        workers, collate = self._task.workers, self._task.collate
        loader = DataLoader(self._data, size, sampler=list(order), num_workers=workers, collate_fn=collate)
        yield from map(self._pair, loader)

    def _iterated(self) -> Iterator[Batch]:
        """Yield the batches of an iterable, up to the limit in whole batches."""
        seen = 0
        for inputs, targets in map(self._pair, self._data):
            if self._limit is not None and seen >= self._limit:
                return
            seen += count(targets)
            yield inputs, targets

    def _pair(self, batch: Any) -> Batch:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            found = f"{len(batch)} parts" if isinstance(batch, tuple | list) else f"a {type(batch).__name__}"
            wanted = "pairs (input, target) are wanted"
            raise UsageError(f"task {self._task.name}: data({self._split!r}) gave {found}; {wanted}")
        return batch[0], batch[1]

    def digest(self) -> str:
        """Return the BLAKE3 of all inputs and targets: dtypes, shapes and bytes."""
        batches = [self.tensors] if self.tensors is not None else self.batches(256)
        return digest_of(tensor for batch in batches for tensor in tensors_in(batch))


def _tensor(values: Tensor | NDArray[Any]) -> Tensor:
    """Return an array as a tensor of the types that networks take: f64 as f32, integers as i64."""
    if isinstance(values, Tensor):
        return values
    found = torch.tensor(values) if not values.flags.writeable else torch.as_tensor(values)
    if found.dtype == torch.float64:
        return found.float()
    return found if found.is_floating_point() or found.dtype == torch.bool else found.long()


def digest_of(tensors: Iterable[Tensor]) -> str:
    """Return the BLAKE3 of tensors: their dtypes, shapes and bytes."""
    parts = []
    for tensor in tensors:
        flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        parts.append(f"{tensor.dtype} {list(tensor.shape)} {_core.digest(flat)}")
    return _core.digest("\n".join(parts).encode())


def count(targets: Any) -> int:
    """Return the number of samples that the targets of a batch are of."""
    if isinstance(targets, Mapping):
        return count(next(iter(targets.values())))
    return len(targets)


def moved(value: Any, device: torch.device, *, copy: bool = False) -> Any:
    """Return nested values with their tensors on `device`, mappings as dictionaries."""
    if isinstance(value, Tensor):
        return value.to(device, copy=copy)
    if isinstance(value, Mapping):
        return {key: moved(item, device, copy=copy) for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [moved(item, device, copy=copy) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def tensors_in(value: object) -> list[Tensor]:
    """Return the tensors in nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [tensor for item in value for tensor in tensors_in(item)]
    return []
