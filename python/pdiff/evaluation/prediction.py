"""What one model does on a split, and the bytes that it is kept as."""

import struct
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

__all__ = ["Prediction"]

_HEADER = struct.Struct("<QQQ")  # N, S, classes; 0 for what is not there


@dataclass(frozen=True)
class Prediction:
    """What one model does on the N samples of a split."""

    correct: Tensor
    """Bool [N]."""
    measured: Tensor | None = None
    """F32 [N, S], where the task has a metric of its own."""
    probabilities: Tensor | None = None
    """F16 [N, classes], where asked for and the task gives them."""

    def packed(self) -> bytes:
        """Return the prediction as bytes, the correct ones as bits."""
        parts = [part for part in (self.measured, self.probabilities) if part is not None]
        widths = [0 if part is None else part.shape[1] for part in (self.measured, self.probabilities)]
        header = _HEADER.pack(len(self.correct), *widths)
        bits = np.packbits(self.correct.numpy()).tobytes()
        return b"".join([header, bits, *(part.contiguous().numpy().tobytes() for part in parts)])

    @staticmethod
    def unpacked(data: bytes) -> "Prediction | None":
        """Return the prediction that `packed` gave as these bytes; None for bytes that it never gives."""
        if len(data) < _HEADER.size:
            return None
        n, measures, classes = _HEADER.unpack_from(data)
        sizes = [(n + 7) // 8, 4 * n * measures, 2 * n * classes]
        if len(data) != _HEADER.size + sum(sizes):
            return None
        places = _HEADER.size + np.cumsum([0, *sizes])
        bits, measured, votes = (data[a:b] for a, b in pairwise(places))
        correct = np.unpackbits(np.frombuffer(bits, np.uint8), count=n).astype(bool)
        return Prediction(
            torch.from_numpy(correct),
            _tensor(measured, torch.float32, n) if measures else None,
            _tensor(votes, torch.float16, n) if classes else None,
        )


def _tensor(data: bytes, dtype: torch.dtype, rows: int) -> Tensor:
    """Return bytes as a tensor [rows, ...] of its own memory."""
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(rows, -1)
