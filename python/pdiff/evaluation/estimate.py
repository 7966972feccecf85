"""Estimate what an evaluation will take, from the time of one prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from pdiff.bank import Bank
from pdiff.common.distributed import choose_device
from pdiff.common.progress import SILENT
from pdiff.evaluation.evaluate import Options
from pdiff.evaluation.inference import Predictor
from pdiff.evaluation.inference.compared import has_validation
from pdiff.evaluation.metrics.soft_voting import POOL
from pdiff.evaluation.populations import open_case
from pdiff.generation.models import Source
from pdiff.generators.sweeps import gradient_sweeps, weight_sweeps
from pdiff.tasks.base import Task


@dataclass(frozen=True)
class Estimate:
    """What an evaluation predicts with; training of baselines, bootstrap and page come on top."""

    predictions: int
    """Of a model on a split: originals and generated models are predicted with on validation too."""
    samples: int
    seconds: float
    """Of all predictions, without cached ones."""


def estimate(
    models: Source | Sequence[Source],
    *,
    bank: Bank | None = None,
    task: Task | str | None = None,
    controls: Mapping[str, Source] | None = None,
    **options: Any,
) -> Estimate:
    """Return what `evaluate` with the same arguments would take; predicts twice, with members of the bank."""
    asked = Options.of(options)
    case = open_case(models, bank, task, controls=controls or {}, options=asked, progress=SILENT)
    device = choose_device(asked.device)
    predictor = Predictor(
        *(case.bank, case.task, case.arch),
        split=asked.split,
        batch_size=asked.batch_size,
        device=device,
        reestimate=case.inputs,
    )
    first, second = case.bank.batch([0, 1])
    predictor.predict(first)  # which sets up what all models share
    begin = perf_counter()
    predictor.predict(second)
    seconds = perf_counter() - begin
    ours = len(case.bank) + sum(run.size for run in case.runs)
    gradients = gradient_sweeps(case.access.gradient_evaluations, asked.baselines_n, asked.seed)
    baselines = (len(weight_sweeps(case.bank)) + len(gradients)) * asked.baselines_n
    baselines += max(POOL - asked.baselines_n, 0) if predictor.vote_classes else 0  # a Gaussian that votes
    others = 1 + baselines + sum(control.size for control in case.controls.values())
    validated = ours if asked.split == "test" and has_validation(case.task) else 0
    predictions = ours + others + validated
    return Estimate(predictions, predictor.samples, predictions * seconds)
