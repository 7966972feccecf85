"""Read or make the rows of a population once, and hand out copies of them."""

import tempfile
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Rows = Callable[[Sequence[int]], Tensor]
"""Indices → raw rows f32 [B, D], new memory."""

_BUDGET = 2**30
"""Bytes of rows that stay in memory."""


class RowCache:
    """Keeps rows of populations while the memory set aside for them lasts.

    Rows of checkpoint files beyond that go to an unnamed temporary file, so that no file is read and checked
    twice; those that a generator makes are made again.
    """

    def __init__(self, budget: int = _BUDGET) -> None:
        self._left = budget

    def of(self, make: Rows, size: int, dim: int, *, from_files: bool = False) -> Rows:
        """Return what gives the same rows as `make`, which is called once for each row that is kept."""
        needed = 4 * size * dim
        if needed <= self._left:
            self._left -= needed
            return CachedRows(make, torch.empty(size, dim))
        return CachedRows(make, _on_disk(size, dim)) if from_files else make


class CachedRows:
    """The rows of a population, each made when it is first asked for."""

    def __init__(self, make: Rows, store: Tensor) -> None:
        self._make, self._store = make, store
        self._made = torch.zeros(len(store), dtype=torch.bool)

    def __call__(self, indices: Sequence[int]) -> Tensor:
        """Return raw rows [B, D]: copies."""
        chosen = torch.tensor(list(indices), dtype=torch.int64)
        if missing := sorted({index for index in chosen.tolist() if not self._made[index]}):
            self._store[missing] = self._make(missing)
            self._made[missing] = True
        return self._store[chosen]


def _on_disk(size: int, dim: int) -> Tensor:
    """Return an uninitialised tensor [size, D] whose numbers are in a file that goes away with it."""
    with tempfile.NamedTemporaryFile() as file:
        return torch.from_file(file.name, shared=True, size=size * dim).view(size, dim)
