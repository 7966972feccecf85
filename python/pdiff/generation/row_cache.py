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
        """Return what gives the same rows as `make`, new memory; `make` makes each row that is kept once."""
        needed = 4 * size * dim
        if needed <= self._left:
            self._left -= needed
            store = torch.empty(size, dim)
        elif from_files:
            with tempfile.NamedTemporaryFile() as file:  # the numbers are in a file that goes away with them
                store = torch.from_file(file.name, shared=True, size=size * dim).view(size, dim)
        else:
            return make
        made = torch.zeros(size, dtype=torch.bool)

        def rows(indices: Sequence[int]) -> Tensor:
            chosen = torch.tensor(list(indices), dtype=torch.int64)
            if missing := sorted({index for index in chosen.tolist() if not made[index]}):
                store[missing] = make(missing)
                made[missing] = True
            return store[chosen]

        return rows
