"""`pdiff zoo`: train networks of a task and leave a folder of checkpoints that remembers how it was made."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

from torch import nn

from pdiff.bank.manifest import TASK_FILE, TaskRef
from pdiff.common.artifacts import write_json
from pdiff.common.directories import staged_directory
from pdiff.common.errors import UsageError, unknown
from pdiff.common.progress import SILENT, Progress
from pdiff.common.provenance import provenance
from pdiff.common.rng import seeded
from pdiff.tasks import Task
from pdiff.tasks.data import Batch, SplitData
from pdiff.tasks.scoring import score
from pdiff.training.frozen import FrozenRest
from pdiff.zoo.augment import flip_and_shift
from pdiff.zoo.checkpoints import FORMATS, Format, write_checkpoint
from pdiff.zoo.recipes import Phase, Recipe, recipe_for
from pdiff.zoo.subset import select_subset
from pdiff.zoo.train import bank_steps, converge, initialise

DESCRIPTION = "zoo.json"


@dataclass(frozen=True)
class ZooResult:
    """What `build_zoo` made."""

    path: Path
    converged: list[float]
    """Validation score of each run's converged network, in the task's metric."""
    scores: list[float]
    """Validation score of each checkpoint, run after run."""
    train_seconds: float
    bank_seconds: float

    @property
    def seconds(self) -> float:
        """The time both phases took."""
        return self.train_seconds + self.bank_seconds


@dataclass(frozen=True)
class _Plan:
    """What is the same for every run."""

    task: Task
    arch: str
    recipe: Recipe
    phase: Phase
    subset: str
    names: list[str]
    k: int
    seed: int
    fmt: Format
    progress: Progress

    def batches(self, phase: Phase, purpose: str) -> Iterator[Batch]:
        """Return the endless training batches of a phase."""
        vary = flip_and_shift if self.recipe.augment else None
        return self.training.shuffled(phase.batch_size, seed=self.seed, purpose=purpose, vary=vary)

    @cached_property
    def training(self) -> SplitData:
        """The training split."""
        return SplitData(self.task, "train")

    @cached_property
    def validation(self) -> SplitData:
        """The samples that judge every checkpoint."""
        return SplitData(self.task, "validation", self.recipe.validation_samples)


def build_zoo(
    task: Task,
    *,
    task_name: str,
    options: Mapping[str, Any],
    arch: str,
    out: Path,
    k: int = 300,
    subset: str = "all",
    optimizer: str | None = None,
    lr: float | None = None,
    seed: int = 0,
    runs: int = 1,
    fmt: Format = "safetensors",
    overwrite: bool = False,
    progress: Progress = SILENT,
    epochs: int | None = None,
) -> ZooResult:
    """Train `arch` to convergence, then save `k` checkpoints, one a step, that differ in `subset` alone.

    `out` receives `step-00001.safetensors`, …, in `run-R/` where `runs` is above 1 (independent
    initialisations and orders of the data), `zoo.json` (how they were made) and `task.json`: `task_name` and
    `options` are what `load_task` was given, and tell a bank its task. `optimizer` and `lr` are
    those of the bank's steps. The same seed gives the same checkpoints, bit for bit, at the same number of
    threads. Raises `UsageError` for a choice that cannot work, `InputError` when training diverges.
    """
    _check(task, arch, k=k, runs=runs, fmt=fmt, epochs=epochs)
    recipe = recipe_for(task_name, arch)
    recipe = recipe if epochs is None else replace(recipe, epochs=epochs)
    phase = recipe.bank_phase(subset, optimizer, lr)
    names = select_subset(initialise(task, arch, seed, run=0), subset)
    plan = _Plan(task, arch, recipe, phase, subset, names, k, seed, fmt, progress)
    with (
        staged_directory(out, marker=DESCRIPTION, overwrite=overwrite) as staged,
        seeded(seed, "zoo/forward"),  # networks with dropout draw from torch's own generator
    ):
        parts = []
        for run in range(runs):
            folder = staged / f"run-{run}" if runs > 1 else staged
            folder.mkdir(exist_ok=True)
            parts.append(_one_run(plan, folder, run))
        result = ZooResult(
            out,
            [value for part in parts for value in part.converged],
            [value for part in parts for value in part.scores],
            sum(part.train_seconds for part in parts),
            sum(part.bank_seconds for part in parts),
        )
        write_json(staged / TASK_FILE, TaskRef(task_name, arch, dict(options)))
        write_json(staged / DESCRIPTION, _description(plan, result))
    return result


def _check(task: Task, arch: str, *, k: int, runs: int, fmt: str, epochs: int | None) -> None:
    """Refuse what cannot work before anything is trained."""
    if arch not in task.architectures:
        raise unknown(f"architecture of {task.name}", arch, task.architectures)
    if fmt not in FORMATS:
        raise unknown("checkpoint format", fmt, FORMATS)
    for what, value in (("k", k), ("runs", runs), ("epochs", epochs)):
        if value is not None and value < 1:
            raise UsageError(f"{what} is {value}; expected 1 or more")


def _one_run(plan: _Plan, folder: Path, run: int) -> ZooResult:
    model = initialise(plan.task, plan.arch, plan.seed, run)
    phase = plan.recipe.converge
    n = len(plan.training)
    steps = plan.recipe.epochs * (n // min(phase.batch_size, n))
    source = plan.batches(phase, f"zoo/train/run-{run}")
    start = perf_counter()
    converge(plan.task, model, phase, source, steps=steps, progress=plan.progress)
    middle = perf_counter()
    converged = score(plan.task, model, plan.validation)
    plan.progress.message(f"Converged: {plan.task.describe(converged)} on the validation split")
    scores = _save_bank(plan, model, folder, run)
    return ZooResult(folder, [converged], scores, middle - start, perf_counter() - middle)


def _save_bank(plan: _Plan, model: nn.Module, folder: Path, run: int) -> list[float]:
    """Take the bank's steps and write a checkpoint after each; returns their scores."""
    scores, metric = [], plan.task.metric_name
    rest = FrozenRest(model, plan.names, whole=plan.subset == "all")
    source = plan.batches(plan.phase, f"zoo/bank/run-{run}")
    with plan.progress.track("Saving checkpoints", plan.k, "checkpoint") as tracker:
        steps = bank_steps(plan.task, model, plan.phase, source, rest)
        for step, loss in enumerate(islice(steps, plan.k), start=1):
            value = score(plan.task, model, plan.validation)
            write_checkpoint(folder, model, plan.fmt, step=step, run=run, metric=metric, score=value)
            scores.append(value)
            tracker.advance(1, **{"loss": loss, metric: value})
    return scores


def _description(plan: _Plan, result: ZooResult) -> dict[str, Any]:
    """Return what `zoo.json` says: how the checkpoints were made and how good they are."""
    recipe = plan.recipe
    return {
        **{"subset": plan.subset, "names": plan.names, "seed": plan.seed, "k": plan.k},
        "runs": len(result.converged),
        "recipe": {
            **{"epochs": recipe.epochs, "augment": recipe.augment},
            **{"converge": asdict(recipe.converge), "bank": asdict(plan.phase)},
        },
        "validation_samples": len(plan.validation),
        "metric": plan.task.metric_name,
        "converged": result.converged,
        "seconds": {"train": result.train_seconds, "bank": result.bank_seconds},
        "provenance": provenance(),
    }
