"""Predict with every family that is compared: votes, selection on validation, a check of BatchNorm."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pdiff.common.distributed import choose_device, everyones, share
from pdiff.common.progress import Progress, Tracker
from pdiff.common.rng import numpy_generator
from pdiff.common.wording import counted
from pdiff.evaluation.figure_data.reverse import recorded_run, reverse
from pdiff.evaluation.figure_data.weight_space import spread_over
from pdiff.evaluation.inference.predictions import Prediction, Predictions
from pdiff.evaluation.inference.predictor import Predictor
from pdiff.evaluation.metrics.soft_voting import POOL
from pdiff.evaluation.populations import Case, Compared, Population, blocks, compare, is_gaussian
from pdiff.evaluation.schema import ReverseData
from pdiff.generators.base import Context
from pdiff.tasks.base import Task
from pdiff.tasks.data import SplitData, count
from pdiff.training import Run

BUDGET = 4 * 2**30
"""Bytes of probabilities of all families together, beyond which no votes are taken."""
SUBSAMPLE = 8
"""Originals that are predicted with as they are, too."""
MUCH = 0.05
"""Share of the score as they are, in whatever unit, beyond which re-estimation degrades models."""
NOTHING_TO_ESTIMATE = (
    "Nothing to re-estimate: no BatchNorm statistics depend on what differs between the models, so they are "
    "evaluated as they are."
)


@dataclass
class Predicted:
    """All that networks were run for."""

    predictor: Predictor
    voters: int
    """Models of a family that vote at most; 0 where there are no votes."""
    compared: Compared[Predictions]
    run: Run | str = ""
    """The run that the first models were drawn from, or why there is none."""
    way: ReverseData | str = ""
    """Their scores on the way from noise, or why there are none."""
    warnings: list[str] = field(default_factory=list)


def predict(case: Case, progress: Progress) -> Predicted:
    """Predict with originals, models, baselines and controls; all processes of a group call this."""
    options, warnings, device = case.options, list[str](), choose_device(case.options.device)
    network: dict[str, Any] = {"batch_size": options.batch_size, "device": device, "cache": options.cache}
    of = partial(Predictor, case.bank, case.task, case.arch, **network)
    predictor = of(split=options.split, reestimate=case.inputs, say=progress.message)
    selects = options.split == "test" and has_validation(case.task)
    validation = of(split="validation", reestimate=case.inputs) if selects else None
    if case.inputs and not predictor.estimates:
        warnings.append(NOTHING_TO_ESTIMATE)
    voters = vote_limit(predictor, len(case.bank), sum(run.size for run in case.runs), warnings.append)
    context = Context(device=device, task=case.task, arch=case.arch, progress=progress)
    compared = compare(case, context, voters)
    found = predict_compared(
        compared, predictor, validation, voters=voters, seed=options.seed, progress=progress
    )
    found.warnings = warnings
    if predictor.estimates:
        plain = of(split=options.split, trunk_bytes=0, say=progress.message)
        warning = batch_norm_warning(found.compared.original, plain, case.task, case.inputs, progress)
        warnings += [warning] if warning else []
    _follow(found, case, device, progress)
    return found


def _follow(found: Predicted, case: Case, device: torch.device, progress: Progress) -> None:
    """Find the first folder's run, and its models' scores on the way from noise, or why there are none."""
    generated = case.runs[0].generated
    run = "not written by `pdiff generate`" if generated is None else recorded_run(generated)
    if generated is None or isinstance(run, str):
        progress.message(f"Training and the way from noise are left out: {run}")
        found.run = found.way = str(run)
        return

    def scored(population: Population, tracker: Tracker) -> Tensor:
        return predict_population(population, found.predictor, tracker).scores()

    found.run, found.way = run, reverse(generated, run, scored, device, progress)


def predict_compared(
    compared: Compared[Population],
    predictor: Predictor,
    validation: Predictor | None,
    *,
    voters: int,
    seed: int,
    progress: Progress,
) -> Predicted:
    """Predict with everybody on the split, and with originals and generated models on validation too.

    At most `voters` models of a family give probabilities; the originals among them are drawn at random by
    `seed`.
    """
    selectable = (compared.original, *compared.runs) if validation else ()
    votes = _voting(compared, voters, seed)
    models = sum(population.size for population in (*compared, *selectable))
    with progress.track("Evaluating", models, "model") as tracker:
        found = compared.map(lambda each: predict_population(each, predictor, tracker, votes=votes(each)))
        if validation is not None:
            scores = [predict_population(each, validation, tracker).scores() for each in selectable]
            original, *runs = map(_validated, (found.original, *found.runs), scores)
            found = replace(found, original=original, runs=tuple(runs))
    return Predicted(predictor, voters, found)


def _validated(test: Predictions, scores: Tensor) -> Predictions:
    return replace(test, validation=scores)


def has_validation(task: Task) -> bool:
    """Return whether the task has validation samples."""
    return any(count(targets) for _, targets in SplitData(task, "validation").batches(1))


def vote_limit(
    predictor: Predictor, members: int, generated: int, warn: Callable[[str], object] = lambda _: None
) -> int:
    """Return how many models of a family vote at most: 0 without classes, or if they need too much memory.

    `members` of the bank and `generated` models, of which all vote where there are fewer, count only for the
    memory. `warn` is told in a sentence when votes are left out for it.
    """
    model_bytes = 4 * predictor.samples * predictor.vote_classes
    needed = (min(members, POOL) + min(generated, POOL) + POOL) * model_bytes
    if needed > BUDGET:
        warn(f"Soft votes are left out: their probabilities would need {needed / 2**30:.1f} GiB of memory.")
    return POOL if 0 < needed <= BUDGET else 0


def _voting(
    compared: Compared[Population], voters: int, seed: int
) -> Callable[[Population], Collection[int]]:
    """Return what says which models of a population vote, at most `voters` of each family.

    The originals are drawn at random; of several runs as many vote of each as it has, the first ones.
    """
    order = numpy_generator(seed, "evaluate/electors").permutation(compared.original.size)
    drawn: list[int] = order[:voters].tolist()
    in_turn = sorted((index, each.run) for each in compared.runs for index in range(each.size))[:voters]

    def vote(population: Population) -> Collection[int]:
        if population is compared.original:
            return drawn
        if any(population is run for run in compared.runs):
            return [index for index, run in in_turn if run == population.run]
        return range(min(voters, population.size) if is_gaussian(population) else 0)

    return vote


def batch_norm_warning(
    original: Predictions, plain: Predictor, task: Task, inputs: int, progress: Progress
) -> str | None:
    """Say if the originals, predicted with statistics of so many `inputs`, are much better as they are.

    `plain`, a predictor without re-estimation, predicts with a few of them, evenly spaced.
    """
    population = original.population
    chosen = spread_over(population.size, SUBSAMPLE)
    few = Population("original", None, len(chosen), lambda some: population.rows([chosen[i] for i in some]))
    with progress.track("Evaluating originals as they are", few.size, "model") as tracker:
        before = float(predict_population(few, plain, tracker).scores().mean())
    after = float(original.scores(models=torch.tensor(chosen)).mean())
    loss = before - after if task.higher_is_better else after - before
    if loss <= MUCH * abs(before):
        return None
    used = counted(min(inputs, len(SplitData(task, "train", inputs))), "training input")
    return (
        f"BatchNorm re-estimation degrades the models: with statistics of {used} the mean of {few.size} "
        f"originals goes from {task.describe(before)} to {task.describe(after)}. All models are evaluated "
        "with such statistics; give more inputs (--reestimate N), or leave re-estimation out."
    )


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
        [index for index, each in enumerate(predictions) if each.probabilities is not None],
    )


def _stacked(parts: list[Tensor | None]) -> Tensor | None:
    """Stack the parts that are there; None if there are none."""
    there = [part for part in parts if part is not None]
    return torch.stack(there) if there else None
