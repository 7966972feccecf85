"""Some members of a bank, in some order: indices into it, no copy of its rows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pdiff._core import Layout, Normalizer
from pdiff.bank.manifest import Member
from pdiff.common.rng import numpy_generator

if TYPE_CHECKING:
    from pdiff.bank.bank import Bank, Normalization

__all__ = ["Selectable", "View"]

Indices = Sequence[int] | npt.NDArray[np.int64]


class Selectable(ABC):
    """What has members and can be narrowed down: a bank, and a view of one."""

    @property
    @abstractmethod
    def members(self) -> Sequence[Member]:
        """The checkpoints, in row order."""

    @abstractmethod
    def locate(self, indices: Indices) -> "tuple[Bank, npt.NDArray[np.int64]]":
        """Return the bank and the rows of it [len(indices)] that these members are.

        Raises `IndexError` for an index that is not from 0 to len − 1.
        """

    def view(self, choice: Indices | Callable[[Member], bool]) -> "View":
        """Return the members of these indices, in this order, or those for which `choice(member)` is true."""
        if callable(choice):
            choice = [index for index, member in enumerate(self.members) if choice(member)]
        return View(*self.locate(choice))

    def where(self, predicate: Callable[[Member], bool]) -> "View":
        """Return the members for which `predicate` is true, as in `lambda m: m.metrics["accuracy"] > 0.9`."""
        return self.view(predicate)

    def every(self, n: int) -> "View":
        """Return one member in `n`: 0, n, 2n and so on."""
        if n < 1:
            raise ValueError(f"every {n}; accepted: 1 or more")
        return self.view(range(0, len(self.members), n))

    def split(self, held_out: float = 0.1, seed: int = 0) -> "tuple[View, View]":
        """Return a random split (train, held out), a function of `seed` and the number of members K.

        round(K · held_out) members are held out, but at least one and not all. Both keep the bank's order.
        """
        K = len(self.members)
        if not 0 < held_out < 1 or K < 2:
            raise ValueError(f"held_out {held_out} of {K} members; accepted: 0 < held_out < 1 of 2 or more")
        count = min(max(round(K * held_out), 1), K - 1)
        order = numpy_generator(seed, "split").permutation(K)
        return self.view(np.sort(order[count:])), self.view(np.sort(order[:count]))


class View(Selectable):
    """Members of a bank chosen by `Bank.view`, `where`, `every` or `split`, which a view has too.

    It reads the bank's own memory map. Layout, statistics and normalisers are those of the *whole* bank, so
    that rows mean the same in every view; held-out members have thus had their part in mean and std.
    """

    def __init__(self, bank: "Bank", indices: npt.NDArray[np.int64]) -> None:
        self.bank = bank
        self.indices = indices.copy()
        """The rows of the bank, [len(view)]."""
        self.indices.flags.writeable = False

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def dim(self) -> int:
        """D, the numbers in a row."""
        return self.bank.dim

    @property
    def layout(self) -> Layout:
        """The tensors of a row."""
        return self.bank.layout

    @cached_property
    def members(self) -> Sequence[Member]:
        """The chosen checkpoints."""
        return tuple(self.bank.members[index] for index in self.indices)

    def locate(self, indices: Indices) -> "tuple[Bank, npt.NDArray[np.int64]]":
        """Return the bank and the rows of it that these members of the view are."""
        return self.bank, self.indices[checked(indices, len(self))]

    def row(self, index: int) -> npt.NDArray[np.generic]:
        """Return row `index` [D] of the view; see `Bank.row`."""
        _, (found,) = self.locate([index])
        return self.bank.row(int(found))

    def batch(
        self,
        indices: Indices,
        normalizer: Normalizer | None = None,
        *,
        columns: tuple[int, int] | None = None,
        out: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Gather rows of the view, normalised; see `Bank.batch`."""
        bank, rows = self.locate(indices)
        return bank.batch(rows, normalizer, columns=columns, out=out, dtype=dtype)

    @property
    def statistics(self) -> dict[str, Tensor]:
        """Statistics over all rows of the bank; see `Bank.statistics`."""
        return self.bank.statistics

    def normalizer(self, kind: "Normalization") -> Normalizer:
        """Return the bank's normaliser; see `Bank.normalizer`."""
        return self.bank.normalizer(kind)


def integers(indices: Indices) -> npt.NDArray[np.int64]:
    """Return indices as an array [B]; raises `ValueError` for what are no integers, such as a mask."""
    found = np.asarray(indices)
    if found.ndim != 1:
        raise ValueError(f"indices of shape {found.shape}; accepted: one axis")
    if found.dtype.kind not in "iu" and found.size:
        raise ValueError(f"indices of dtype {found.dtype}; accepted: integers")
    return np.ascontiguousarray(found, dtype=np.int64)


def checked(indices: Indices, count: int) -> npt.NDArray[np.int64]:
    """Return indices from 0 to `count` − 1 as an array; raises `IndexError` for another."""
    found = integers(indices)
    for index in found[(found < 0) | (found >= count)]:
        raise IndexError(f"member {index}; accepted: 0 to {count - 1}")
    return found
