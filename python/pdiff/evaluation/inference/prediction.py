"""Hold what one model predicts on a split, and pack it into bytes."""

import struct
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

_HEADER = struct.Struct("<4Q")  # N, parts, S', classes; 0 for what is not there


@dataclass(frozen=True)
class Prediction:
    """What one model does on the N samples of a split, of S parts each."""

    wrong: Tensor
    """Bool [N·S], the parts that are wrong, sample after sample."""
    parts: int = 1
    """S, the parts of a sample; 1 for classification."""
    measured: Tensor | None = None
    """F32 [N, S'], what the task's own metric measured on each sample, where it has one."""
    probabilities: Tensor | None = None
    """F16 [N, classes], where asked for and the task gives them."""

    @property
    def samples(self) -> int:
        """N, the samples of the split."""
        return len(self.wrong) // self.parts

    def packed(self) -> bytes:
        """Return the prediction as bytes, which parts are wrong as bits."""
        there = [part for part in (self.measured, self.probabilities) if part is not None]
        widths = [0 if part is None else part.shape[1] for part in (self.measured, self.probabilities)]
        header = _HEADER.pack(self.samples, self.parts, *widths)
        bits = np.packbits(self.wrong.numpy()).tobytes()
        return b"".join([header, bits, *(part.contiguous().numpy().tobytes() for part in there)])

    @staticmethod
    def unpacked(data: bytes) -> "Prediction | None":
        """Return the prediction that `packed` gave as these bytes; None for bytes that it never gives."""
        if len(data) < _HEADER.size:
            return None
        n, parts, measures, classes = _HEADER.unpack_from(data)
        sizes = [(n * parts + 7) // 8, 4 * n * measures, 2 * n * classes]
        if not parts or len(data) != _HEADER.size + sum(sizes):
            return None
        places = _HEADER.size + np.cumsum([0, *sizes])
        bits, measured, votes = (data[a:b] for a, b in pairwise(places))
        wrong = np.unpackbits(np.frombuffer(bits, np.uint8), count=n * parts).astype(bool)
        return Prediction(
            torch.from_numpy(wrong),
            parts,
            _tensor(measured, torch.float32, n) if measures else None,
            _tensor(votes, torch.float16, n) if classes else None,
        )


def _tensor(data: bytes, dtype: torch.dtype, rows: int) -> Tensor:
    """Return bytes as a tensor [rows, ...] of its own memory."""
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(rows, -1)
