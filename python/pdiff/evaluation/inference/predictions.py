"""Hold what models predict on a split: one model's, packed into bytes, and a whole population's, scored."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from pdiff.evaluation.populations import Population
from pdiff.tasks.base import Metric

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
    """F32 [N, classes], where asked for and the task gives them."""

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
        sizes = [(n * parts + 7) // 8, 4 * n * measures, 4 * n * classes]
        if not parts or len(data) != _HEADER.size + sum(sizes):
            return None
        places = _HEADER.size + np.cumsum([0, *sizes])
        bits, measured, votes = (data[a:b] for a, b in pairwise(places))
        wrong = np.unpackbits(np.frombuffer(bits, np.uint8), count=n * parts).astype(bool)
        return Prediction(
            torch.from_numpy(wrong),
            parts,
            _tensor(measured, n) if measures else None,
            _tensor(votes, n) if classes else None,
        )


def _tensor(data: bytes, rows: int) -> Tensor:
    """Return bytes as a tensor f32 [rows, ...] of its own memory."""
    return torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(rows, -1)


@dataclass(frozen=True)
class Predictions:
    """A population and what its M models do on N samples of S parts, in a fixed order."""

    population: Population
    wrong: Tensor
    """Bool [M, N·S], the parts that are wrong, sample after sample."""
    parts: int = 1
    """S, the parts of a sample."""
    metric: Metric | None = None
    """The task's own; None for the share of parts that are right."""
    measured: Tensor | None = None
    """F32 [M, N, S'], what `metric` measured on each sample."""
    votes: Tensor | None = None
    """F32 [V, N, classes], the class probabilities of the V models that vote."""
    voters: Sequence[int] = ()
    """Which models they are."""
    validation: Tensor | None = None
    """F64 [M], the models' scores on validation, where they were predicted there too."""

    def scores(self, samples: Tensor | None = None, models: Tensor | None = None) -> Tensor:
        """Return how good each of the models is, on the samples of these indices (repeats count): f64 [M].

        All of them without indices. In the metric's own unit, whichever direction is better.
        """
        wrong = self.wrong if models is None else self.wrong[models]
        if self.metric is None or self.measured is None:
            return 1 - self._mean_over(wrong, samples)
        everyone = range(len(self.wrong)) if models is None else models.tolist()
        chosen = (self.measured[one] if samples is None else self.measured[one, samples] for one in everyone)
        return torch.tensor([self.metric.reduce(each) for each in chosen], dtype=torch.float64)

    def _mean_over(self, wrong: Tensor, samples: Tensor | None) -> Tensor:
        """Return the share of the samples' parts that each model gets wrong: f64 [M]."""
        if samples is None:
            return wrong.double().mean(dim=1)
        counts = torch.bincount(samples, minlength=wrong.shape[1] // self.parts).double()
        return (wrong.double() @ counts.repeat_interleave(self.parts)) / (self.parts * len(samples))
