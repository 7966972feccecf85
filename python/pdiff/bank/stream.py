"""Gather batches in a given order, or those of training steps, ahead of the caller in a Rust thread."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pdiff._core import Normalizer, Prefetch
from pdiff.bank.bank import View
from pdiff.bank.rows import Rows, accepted


class Stream(Iterator[Tensor]):
    """The batches of a schedule: for each array of row indices [b], b ≤ `size`, a batch [b, D'].

    A ring of `ahead` + 1 buffers [size, D'], pinned if `device` is a GPU, is filled while the caller works
    with the batch it has; the schedule is asked only for that much. On the CPU a batch is a view of its
    buffer, valid until the next one is asked for; on another device it is a copy, and stays.

    One thread at a time may use a stream, in the process that made it: in a fork, `next` raises `PdiffError`.
    Any error, such as the `IndexError` for a row that is not there, and Ctrl-C end the stream. The thread
    that gathers stops when the stream ends, is closed or is dropped.
    """

    def __init__(
        self,
        bank: Rows,
        schedule: Iterable[npt.NDArray[np.int64]],
        size: int,
        *,
        normalizer: Normalizer | None = None,
        columns: tuple[int, int] | None = None,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        ahead: int = 2,
    ) -> None:
        if size < 1 or ahead < 1:
            raise ValueError(f"size {size}, ahead {ahead}; accepted: 1 or more")
        begin, end = columns or (0, bank.dim)
        self.waited = 0.0
        """Seconds that the caller has waited for batches."""
        self._device = torch.device(device)
        on_gpu = self._device.type == "cuda"
        width = max(end - begin, 0)
        self._buffers = [
            torch.empty(size, width, dtype=accepted(dtype), pin_memory=on_gpu) for _ in range(ahead + 1)
        ]
        self._upload = Upload(self._device, len(self._buffers)) if on_gpu else None
        self._prefetch: Prefetch | None = bank.prefetch(self._buffers, normalizer, columns)
        self._schedule = iter(schedule)
        self._free = deque(range(len(self._buffers)))
        self._sizes: deque[int] = deque()
        """Rows of each batch that is under way."""
        self._held: int | None = None
        """The buffer of the batch that the caller has."""
        self._ask(self._prefetch)

    def __next__(self) -> Tensor:
        if self._prefetch is None:
            raise StopIteration
        try:
            self._release()
            self._ask(self._prefetch)
            if not self._sizes:
                raise StopIteration
            begin = time.perf_counter()
            self._held = slot = self._prefetch.wait()
            self.waited += time.perf_counter() - begin
            batch = self._buffers[slot][: self._sizes.popleft()]
            return self._upload(slot, batch) if self._upload else batch.to(self._device)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the thread; there are no more batches then."""
        self._prefetch = None

    def _ask(self, prefetch: Prefetch) -> None:
        """Ask for a batch in every free buffer."""
        for indices in islice(self._schedule, len(self._free)):
            prefetch.submit(self._free.popleft(), indices)
            self._sizes.append(len(indices))

    def _release(self) -> None:
        """Take back the buffer of the batch before."""
        if self._held is not None:
            if self._upload:
                self._upload.wait(self._held)
            self._free.append(self._held)
            self._held = None


class Draws:
    """The normalised rows [B, D] of the members that each training step draws, gathered one step ahead.

    `drawn` gives the members of a step as a function of it. Rows are valid until the next are asked for.
    Steps may begin anywhere; each costs least after the one before it.
    """

    def __init__(
        self,
        members: View,
        normalizer: Normalizer,
        size: int,
        drawn: Callable[[int], npt.NDArray[np.int64]],
        device: torch.device,
    ) -> None:
        self._members, self._normalizer, self._size = members, normalizer, size
        self._drawn, self._device = drawn, device
        self.waited = 0.0
        """Seconds that the latest rows were waited for."""
        self._next = 0
        self._stream: Stream | None = None

    def __call__(self, step: int) -> Tensor:
        """Return the rows of training step `step`."""
        if self._stream is None or step != self._next:
            # One batch ahead: rows may be wide, and a step takes longer than gathering them.
            schedule = (self._members.indices[self._drawn(each)] for each in count(step))
            bank, device = self._members.bank, self._device
            self._stream = Stream(
                bank, schedule, self._size, normalizer=self._normalizer, device=device, ahead=1
            )
        self._next = step + 1
        before = self._stream.waited
        rows = next(self._stream)
        self.waited = self._stream.waited - before
        return rows


class Upload:
    """Copies batches to `device` on a CUDA stream of its own, and knows when each buffer has been read."""

    def __init__(self, device: torch.device, buffers: int) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.device: torch.device = self._stream.device
        """With its number: `cuda` alone is whatever GPU is the current one when it is asked for."""
        self._copied: list[torch.cuda.Event] = [
            torch.cuda.Event()  # type: ignore[no-untyped-call]
            for _ in range(buffers)
        ]

    def __call__(self, slot: int, batch: Tensor) -> Tensor:
        """Begin to copy `batch`, which is in buffer `slot`; the caller's stream waits for it, not the CPU."""
        with torch.cuda.stream(self._stream):
            copy = torch.empty_like(batch, device=self.device, pin_memory=False)
            copy.copy_(batch, non_blocking=True)
            self._copied[slot].record(self._stream)
        user = torch.cuda.current_stream(self.device)
        user.wait_event(self._copied[slot])
        # The memory belongs to our stream, which must not reuse it while the caller's still reads it.
        copy.record_stream(user)
        return copy

    def wait(self, slot: int) -> None:
        """Wait until buffer `slot` may be overwritten."""
        self._copied[slot].synchronize()
