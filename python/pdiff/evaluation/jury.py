"""Predictions of everybody on one split, and on validation what selects the best model."""

from typing import Any

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.evaluation.ensembles import BUDGET, SIZES
from pdiff.evaluation.families import Population
from pdiff.evaluation.field import Field, is_gaussian
from pdiff.evaluation.judge import Judged, judge
from pdiff.evaluation.predict import Predictor
from pdiff.evaluation.selection import has_validation, selected
from pdiff.progress import Progress
from pdiff.rng import numpy_generator
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
        """What was left out, in sentences."""
        self.reestimates = self.predictor.estimates
        """Whether models get BatchNorm statistics of their own."""
        if options.get("reestimate") and not self.reestimates:
            self.warnings.append(
                "Nothing to re-estimate: no BatchNorm statistics depend on what differs between the models, "
                "so they are judged as they are."
            )

    def voters(self, generated: int) -> int:
        """Return how many models of a family vote: 0 without classes, or where they need too much room.

        Of each family as many vote as there are `generated` models, up to the largest vote.
        """
        voters = min(generated, SIZES[-1]) if self._vote_bytes else 0
        needed = 3 * voters * self._vote_bytes
        if needed <= BUDGET:
            return voters
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
        electors = numpy_generator(seed, "evaluate/electors").permutation(len(self._bank))[:voters].tolist()
        models = sum(population.size for population in (*field, *compared))
        with progress.track("Evaluating", models, "model") as tracker:
            judged = field.map(
                lambda each: judge(each, self.predictor, tracker, votes=_votes(each, voters, electors))
            )
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


def _votes(population: Population, voters: int, electors: list[int]) -> int | list[int]:
    """Return of how many or of which of its models a population keeps the probabilities."""
    if population.family == "original":
        return electors
    votes = population.family == "generated" or is_gaussian(population)
    return min(voters, population.size) if votes else 0
