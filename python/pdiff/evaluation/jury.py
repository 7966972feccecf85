"""Predictions of everybody on one split, and on validation what selects the best model."""

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.progress import Progress
from pdiff.common.rng import numpy_generator
from pdiff.evaluation.ensembles import BUDGET, POOL
from pdiff.evaluation.families import Population
from pdiff.evaluation.field import Field, is_gaussian
from pdiff.evaluation.judge import Judged, judge
from pdiff.evaluation.predict import Predictor
from pdiff.evaluation.selection import has_validation, selected
from pdiff.tasks.base import Split, Task

__all__ = ["Jury", "Selected"]

Selected = tuple[dict[str, Any] | None, dict[str, Any] | None]
"""Which original and which generated model is best on validation, see `selection`."""


class Jury:
    """Judges populations of `bank` on a split of `task`, all of them through the same code."""

    def __init__(self, bank: Bank, task: Task, arch: str, split: Split, **options: Any) -> None:
        """Take the `options` of `Predictor`."""
        self.predictor = Predictor(bank, task, arch, split=split, **options)
        """What predicts on the split."""
        self._validation: Predictor | None = None
        if split == "test" and has_validation(task):
            quiet = {name: value for name, value in options.items() if name != "say"}  # it has been said
            self._validation = Predictor(bank, task, arch, split="validation", **quiet)
        self._bank = bank
        self._vote_bytes = _vote_bytes(task, arch, split)
        self.samples = self.predictor.samples
        """N, the samples of the split."""
        self.warnings: list[str] = []
        """What was left out or went wrong, in sentences."""
        self.reestimates = self.predictor.estimates
        """Whether models get BatchNorm statistics of their own."""
        if options.get("reestimate") and not self.reestimates:
            self.warnings.append(
                "Nothing to re-estimate: no BatchNorm statistics depend on what differs between the models, "
                "so they are judged as they are."
            )

    def voters(self, generated: int) -> int:
        """Return how many models of a family vote at most: 0 without classes, or if they need too much room.

        It does not depend on the number of `generated` models, of which all vote where there are fewer.
        """
        if not self._vote_bytes:
            return 0
        models = min(len(self._bank), POOL) + min(generated, POOL) + POOL
        if (needed := models * self._vote_bytes) <= BUDGET:
            return POOL
        self.warnings.append(
            f"Soft votes are left out: their probabilities would need {needed / 2**30:.1f} GiB of memory."
        )
        return 0

    def judge(
        self, field: Field[Population], voters: int, seed: int, progress: Progress
    ) -> tuple[Field[Judged], Selected]:
        """Judge everybody, and originals and generated models on validation too.

        The originals that vote are drawn at random by `seed`.
        """
        compared = (field.original, *field.runs) if self._validation else ()
        electors = _electors(field, voters, seed)
        models = sum(population.size for population in (*field, *compared))
        with progress.track("Evaluating", models, "model") as tracker:
            judged = field.map(lambda each: judge(each, self.predictor, tracker, votes=electors(each)))
            if self._validation is None:
                return judged, (None, None)
            validation = self._validation
            original, *runs = (judge(each, validation, tracker) for each in compared)
        return judged, (selected([original], [judged.original]), selected(runs, judged.runs))


@torch.inference_mode()
def _vote_bytes(task: Task, arch: str, split: Split) -> int:
    """Return the bytes of one model's class probabilities as f16; 0 for a task without classes."""
    inputs, targets = task.data(split)
    if not hasattr(task, "probabilities") or targets.dim() != 1 or targets.is_floating_point():
        return 0
    example: Tensor = task.probabilities(task.build(arch).eval()(inputs[:1].clone()))
    return 2 * len(targets) * example.shape[1]


def _electors(field: Field[Population], voters: int, seed: int) -> Callable[[Population], Collection[int]]:
    """Return what says which models of a population vote, at most `voters` of each family.

    The originals are drawn at random; of several runs as many vote of each as it has, the first ones.
    """
    order = numpy_generator(seed, "evaluate/electors").permutation(field.original.size)
    drawn: list[int] = order[:voters].tolist()
    in_turn = sorted((index, each.run) for each in field.runs for index in range(each.size))[:voters]

    def vote(population: Population) -> Collection[int]:
        if population.family == "original":
            return drawn
        if population.family == "generated":
            return [index for index, run in in_turn if run == population.run]
        return range(min(voters, population.size) if is_gaussian(population) else 0)

    return vote
