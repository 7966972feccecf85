"""Predict with whole populations, and score their models on any choice of samples."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from pdiff.common.distributed import everyones, share
from pdiff.common.progress import Tracker
from pdiff.evaluation.inference.prediction import Prediction
from pdiff.evaluation.inference.predictor import Predictor
from pdiff.evaluation.populations import Population, blocks
from pdiff.tasks.base import Metric


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
    """F16 [V, N, classes], the class probabilities of the V models that vote."""

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


def predict_population(
    population: Population, predictor: Predictor, tracker: Tracker, *, votes: Collection[int] = ()
) -> Predictions:
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
        for index, row in zip(ours, rows, strict=True):
            prediction = predictor.predict(row, votes=index in asked)
            found.append((index, prediction.packed()))
            tracker.advance(1, **{measure: predictor.score(prediction)})
        if others := len(indices) - len(ours):
            tracker.advance(others)
    unpacked = [Prediction.unpacked(data) for _, data in sorted(everyones(found))]
    predictions = [each for each in unpacked if each is not None]
    return Predictions(
        population,
        torch.stack([each.wrong for each in predictions]),
        predictions[0].parts,
        predictor.metric,
        _stacked([each.measured for each in predictions]),
        _stacked([each.probabilities for each in predictions]),
    )


def _stacked(parts: list[Tensor | None]) -> Tensor | None:
    """Stack the parts that are there; None if there are none."""
    there = [part for part in parts if part is not None]
    return torch.stack(there) if there else None
