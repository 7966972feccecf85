"""Predictions of whole populations: what each of their models gets right."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pdiff.common.distributed import everyones, share
from pdiff.common.progress import Tracker
from pdiff.evaluation.families import Population
from pdiff.evaluation.predict import Prediction, Predictor
from pdiff.tasks.base import Metric

__all__ = ["Judged", "blocks", "judge"]

_BLOCK_NUMBERS = 2**24
"""Numbers in a block of rows: 64 MiB as f32, whatever the bank's dimension."""


@dataclass(frozen=True)
class Judged:
    """A population and the predictions of its M models on N samples, in a fixed order."""

    population: Population
    wrong: Tensor
    """Bool [M, N], the predictions that are wrong."""
    metric: Metric | None = None
    """The task's own; None for the fraction of correct samples."""
    measured: Tensor | None = None
    """F32 [M, N, S], what `metric` measured on each sample."""
    votes: Tensor | None = None
    """F16 [V, N, classes], the class probabilities of the V models that vote."""

    def scores(self, samples: Tensor | None = None, models: Tensor | None = None) -> Tensor:
        """Return how good each of the models is, on the samples of these indices (repeats count): f64 [M].

        All of them without indices. In the metric's own unit, whichever direction is better.
        """
        wrong = self.wrong if models is None else self.wrong[models]
        if self.metric is None or self.measured is None:
            return 1 - _mean_over(wrong, samples)
        everyone = range(len(self.wrong)) if models is None else models.tolist()
        chosen = (self.measured[one] if samples is None else self.measured[one, samples] for one in everyone)
        return torch.tensor([self.metric.reduce(each) for each in chosen], dtype=torch.float64)


def _mean_over(wrong: Tensor, samples: Tensor | None) -> Tensor:
    """Return the share of the samples that each model gets wrong: f64 [M]."""
    if samples is None:
        return wrong.double().mean(dim=1)
    counts = torch.bincount(samples, minlength=wrong.shape[1])
    return (wrong.double() @ counts.double()) / len(samples)


def judge(
    population: Population, predictor: Predictor, tracker: Tracker, *, votes: Collection[int] = ()
) -> Judged:
    """Predict with every model of `population`, block by block in bounded memory.

    `votes` asks for the class probabilities of these models. Under `torchrun` each process predicts with
    its share of the models, and all of them return the same.
    """
    found: list[tuple[int, bytes]] = []
    asked = frozenset(votes)
    measure = "accuracy" if predictor.metric is None else predictor.metric.name
    for indices in blocks(population.size, predictor.dim):
        ours = share(indices)
        rows = population.rows(ours) if ours else ()
        wanted = ((row, index in asked) for index, row in zip(ours, rows, strict=True))
        for index, prediction in zip(ours, predictor.predictions(wanted), strict=True):
            found.append((index, prediction.packed()))
            tracker.advance(1, **{measure: predictor.score(prediction)})
        if others := len(indices) - len(ours):
            tracker.advance(others)
    predictions = [_unpacked(data) for _, data in sorted(everyones(found))]
    return Judged(
        population,
        ~torch.stack([each.correct for each in predictions]),
        predictor.metric,
        _stacked([each.measured for each in predictions]),
        _stacked([each.probabilities for each in predictions]),
    )


def _unpacked(data: bytes) -> Prediction:
    """Return what `packed` packed."""
    prediction = Prediction.unpacked(data)
    assert prediction is not None
    return prediction


def _stacked(parts: list[Tensor | None]) -> Tensor | None:
    """Stack the parts that are there; None if there are none."""
    there = [part for part in parts if part is not None]
    return torch.stack(there) if there else None


def blocks(size: int, dim: int) -> Iterator[range]:
    """Cut `size` rows of `dim` numbers into blocks of bounded memory."""
    step = max(1, _BLOCK_NUMBERS // dim)
    for start in range(0, size, step):
        yield range(start, min(start + step, size))
