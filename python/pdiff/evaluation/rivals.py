"""What a generator that used gradients on training data has to beat: simple uses of as many gradients.

Three families, each of which comes near learned generators: `tuned-mean`, the bank's mean fine-tuned at a
high rate, with Gaussian noise around it; `cyclic`, averages of four snapshots that a member passes through
at a cyclic rate (Huang et al., *Snapshot Ensembles*, arXiv 1704.00109; Garipov et al., arXiv 1802.10026);
`tuned-gaussian`, draws of the Gaussian baseline, each fine-tuned. Every population has G evaluations of the
gradient of a minibatch for itself.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.rng import numpy_generator
from pdiff.evaluation.baselines import gaussian
from pdiff.evaluation.baselines.moments import denormalise, mean_row
from pdiff.evaluation.families import Population
from pdiff.evaluation.tuning import Tuner
from pdiff.tasks.base import Task

__all__ = ["rival_populations"]

RATE = 1e-2
"""Of Adam, for the mean and for draws: high for fine-tuning, so that they move."""
SCALES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Of the noise around the tuned mean, in the bank's standard deviations."""
CYCLIC_RATES = (1e-3, 1e-2, 3e-2)
SNAPSHOTS = 4
"""Averaged to one model."""
DRAWN_SCALES = (2.0, 4.0, 8.0, 16.0)
"""Of the draws that are fine-tuned."""


def rival_populations(
    bank: Bank, task: Task, arch: str, *, size: int, seed: int, gradients: int
) -> list[Population]:
    """Return the rivals, `size` models a point, each point made with at most `gradients` evaluations.

    Where these do not pay for `size` models there are fewer, and no family without one model. Rows are made
    when they are first asked for, and kept: row i depends on (seed, family, strength, i) alone, and on how
    many evaluations each model has. Raises `UsageError` if the bank holds nothing that can be trained.
    """
    if not gradients:
        return []
    rivals = _Rivals(bank, Tuner(bank, task, arch, seed), seed, gradients)
    return [*rivals.around_mean(size), *rivals.cyclic(size), *rivals.draws(size)]


class _Rivals:
    """Makes the rivals of one bank with `gradients` evaluations a population."""

    def __init__(self, bank: Bank, tuner: Tuner, seed: int, gradients: int) -> None:
        self._bank = bank
        self._tuner = tuner
        self._seed = seed
        self._gradients = gradients

    def around_mean(self, size: int) -> Iterator[Population]:
        """Yield noise around the tuned mean, which all scales share."""
        for scale in SCALES:
            rows = partial(self._noisy_means, scale=scale)
            yield self._population("tuned-mean", scale, size, rows, self._gradients)

    def cyclic(self, size: int) -> Iterator[Population]:
        """Yield averages of snapshots."""
        for rate in CYCLIC_RATES:
            yield from self._tuned_each("cyclic", rate, size, partial(self._cycled, rate=rate), SNAPSHOTS)

    def draws(self, size: int) -> Iterator[Population]:
        """Yield fine-tuned draws."""
        for scale in DRAWN_SCALES:
            yield from self._tuned_each("tuned-gaussian", scale, size, partial(self._drawn, scale=scale), 1)

    def _tuned_each(
        self, family: str, strength: float, size: int, make: Callable[[int, int], Tensor], cycles: int
    ) -> Iterator[Population]:
        """Yield the population whose models share the gradients evenly, if they pay for one.

        `make(index, steps)` returns the row of a model that takes `steps` steps in each of its `cycles`.
        """
        size = min(size, self._gradients // cycles)
        if size:
            steps = self._gradients // (size * cycles)
            rows = _Kept(make, steps).rows
            yield self._population(family, strength, size, rows, size * cycles * steps)

    @staticmethod
    def _population(
        family: str, strength: float, size: int, rows: Callable[[Sequence[int]], Tensor], spent: int
    ) -> Population:
        return Population(family, strength, size, rows, league="gradients", gradient_evaluations=spent)

    @cached_property
    def _tuned_mean(self) -> Tensor:
        """The tuned mean [D], with each number in units of its own deviation in the bank."""
        normalizer = self._bank.normalizer("tensor")
        mean = mean_row(self._bank, normalizer)[None]
        denormalise(self._bank, mean, normalizer)
        (tuned,) = self._tuner.tune(mean[0], self._gradients, rate=RATE, purpose="rival/tuned-mean")
        self._bank.normalizer("element").apply(tuned[None].numpy())
        return tuned

    def _noisy_means(self, indices: Sequence[int], *, scale: float) -> Tensor:
        """Return the tuned mean plus noise of `scale` times the bank's standard deviations: raw [n, D]."""
        std = scale * (self._bank.statistics["element_std"] > 0).float()
        rows = self._tuned_mean.repeat(len(indices), 1)
        for row, index in zip(rows, indices, strict=True):
            generator = numpy_generator(self._seed, "rival/tuned-mean", index)
            row.add_(std * torch.from_numpy(generator.standard_normal(self._bank.dim, dtype="float32")))
        denormalise(self._bank, rows, self._bank.normalizer("element"))
        return rows

    def _cycled(self, index: int, steps: int, *, rate: float) -> Tensor:
        """Return the average [D] of what a random member has become at the end of each cycle."""
        purpose = f"rival/cyclic/{index}"
        member = int(numpy_generator(self._seed, purpose).integers(len(self._bank)))
        start = self._bank.batch([member])[0]
        snapshots = self._tuner.tune(start, steps, rate=rate, purpose=purpose, cycles=SNAPSHOTS)
        return torch.stack(list(snapshots)).double().mean(dim=0).float()

    def _drawn(self, index: int, steps: int, *, scale: float) -> Tensor:
        """Return a draw of the Gaussian baseline, fine-tuned [D]."""
        drawn = gaussian(self._bank, [index], scale=scale, seed=self._seed)[0]
        (tuned,) = self._tuner.tune(drawn, steps, rate=RATE, purpose=f"rival/tuned-gaussian/{index}")
        return tuned


class _Kept:
    """Rows that take long to make, and are made once."""

    def __init__(self, make: Callable[[int, int], Tensor], steps: int) -> None:
        self._make = make
        self._steps = steps
        self._made: dict[int, Tensor] = {}

    def rows(self, indices: Sequence[int]) -> Tensor:
        """Return raw rows [n, D]: copies."""
        for index in indices:
            if index not in self._made:
                self._made[index] = self._make(index, self._steps)
        return torch.stack([self._made[index] for index in indices])
