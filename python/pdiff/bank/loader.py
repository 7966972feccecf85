"""Batches of a bank for training: shuffled, divided among ranks, gathered ahead, resumable at any step."""

from collections.abc import Iterator
from itertools import count

import numpy as np
import numpy.typing as npt
import torch

from pdiff.bank.bank import Bank, Normalizer
from pdiff.bank.lending import accepted
from pdiff.bank.stream import Stream
from pdiff.bank.view import View
from pdiff.common.rng import numpy_generator

__all__ = ["Loader"]

Schedule = Iterator[npt.NDArray[np.int64]]


class Loader:
    """An iterable of batches [B, D'] over a bank or a view of one; `len(loader)` is their number an epoch.

    Which members are in a batch depends on (`seed`, epoch, step) alone: epoch e is the permutation
    `numpy_generator(seed, "shuffle", e).permutation(K)`, or 0 … K − 1 without `shuffle`, cut into global
    batches of `batch_size` · `world_size` members, each of which the ranks divide in order of rank. So it
    goes on at any step without saved state, and the global batches of another number of ranks are the same
    if `batch_size` · `world_size` is.

    The last global batch may be smaller, and is left out with `drop_last`; each rank then gets a share of it
    that differs by at most one member from the others', none if there are fewer members than ranks: every
    rank makes as many steps as the others.

    It is for loops that go through the bank in epochs. `pdiff.train` draws the members of each step anew
    (`pdiff.training.draws`), which fills its batches however few members there are.

    Batches are as those of `Bank.batch`, float32 or bfloat16 (`dtype`), on `device`; `Stream` says how long
    they are valid and what happens in threads and forks, and counts the seconds that it was waited for.
    Raises `ValueError` for a loader without batches and for values out of range.
    """

    def __init__(
        self,
        bank: Bank | View,
        *,
        batch_size: int,
        normalizer: Normalizer | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
        drop_last: bool = False,
        dtype: torch.dtype = torch.float32,
        columns: tuple[int, int] | None = None,
        device: str | torch.device = "cpu",
        ahead: int = 2,
    ) -> None:
        if batch_size < 1 or ahead < 1:
            raise ValueError(f"batch_size {batch_size}, ahead {ahead}; accepted: 1 or more")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size}; accepted: 0 <= rank < world_size")
        self.bank = bank
        self.batch_size = batch_size
        self.normalizer = normalizer
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.dtype = accepted(dtype)
        self.columns = columns
        self.device = torch.device(device)
        self.ahead = ahead
        if len(self) == 0:
            raise ValueError(f"{len(bank)} members, not one batch of {batch_size * world_size}")

    def __len__(self) -> int:
        whole, rest = divmod(len(self.bank), self.batch_size * self.world_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Stream:
        """Return epoch 0, the same each time; `epoch` and `steps` have the others."""
        return self.epoch(0)

    def epoch(self, epoch: int, start: int = 0) -> Stream:
        """Return the batches of an epoch from step `start` of it on; none from step `len(loader)` on."""
        return self._stream(self._epoch(epoch, start))

    def steps(self, start: int = 0) -> Stream:
        """Return the batches of all epochs from step `start` on, without an end."""
        epoch, step = divmod(start, len(self))
        epochs = (self._epoch(e, step if e == epoch else 0) for e in count(epoch))
        return self._stream(indices for batches in epochs for indices in batches)

    def _stream(self, schedule: Schedule) -> Stream:
        bank, _ = self.bank.locate([])
        return Stream(
            bank,
            schedule,
            self.batch_size,
            normalizer=self.normalizer,
            columns=self.columns,
            dtype=self.dtype,
            device=self.device,
            ahead=self.ahead,
        )

    def _epoch(self, epoch: int, start: int) -> Schedule:
        """Yield the bank's rows in each batch of this rank, from step `start` on."""
        if epoch < 0 or start < 0:
            raise ValueError(f"epoch {epoch}, start {start}; accepted: 0 or more")
        K, size = len(self.bank), self.batch_size * self.world_size
        order = numpy_generator(self.seed, "shuffle", epoch).permutation(K) if self.shuffle else np.arange(K)
        _, rows = self.bank.locate(order)
        for step in range(start, len(self)):
            batch = rows[step * size : (step + 1) * size]
            begin, end = (len(batch) * rank // self.world_size for rank in (self.rank, self.rank + 1))
            yield batch[begin:end]
