"""Copies of pinned buffers on a GPU, made beside what the GPU computes."""

import torch
from torch import Tensor

__all__ = ["Upload"]


class Upload:
    """Copies batches to `device` on a CUDA stream of its own, and knows when each buffer has been read."""

    def __init__(self, device: torch.device, buffers: int) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.device: torch.device = self._stream.device
        """With its number: `cuda` alone is whatever GPU is the current one when it is asked for."""
        self._copied = [_event() for _ in range(buffers)]

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


def _event() -> torch.cuda.Event:
    return torch.cuda.Event()  # type: ignore[no-untyped-call]
