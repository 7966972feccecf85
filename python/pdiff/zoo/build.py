"""Train networks of a task and leave a folder of checkpoints that remembers how it was made."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, get_args

import msgspec
import torch
from torch import nn

from pdiff.bank.manifest import BASE, TASK_FILE, ZOO, TaskRef
from pdiff.common.artifacts import write_json
from pdiff.common.directories import staged_directory
from pdiff.common.distributed import choose_device
from pdiff.common.errors import UsageError, unknown
from pdiff.common.progress import AnyProgress, Progress, as_progress
from pdiff.common.provenance import provenance
from pdiff.common.tensors import write_tensors, write_torch
from pdiff.common.threads import on_threads, suitable_threads
from pdiff.common.torch_rng import seeded
from pdiff.tasks import Task, calls
from pdiff.tasks.data import Batch, SplitData
from pdiff.tasks.scoring import score
from pdiff.training.frozen import FrozenRest
from pdiff.zoo.augment import AUGMENTATIONS
from pdiff.zoo.recipes import Phase, Recipe, recipe_for
from pdiff.zoo.start import initialise, load_start
from pdiff.zoo.subset import select_subset
from pdiff.zoo.train import bank_steps, converge

Format = Literal["safetensors", "pth"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass
class ZooResult:
    """What `build_zoo` made."""

    path: Path
    converged: list[float]
    """Validation score of each run's converged network, in the task's metric."""
    scores: list[float]
    """Validation score of each checkpoint, run after run."""
    train_seconds: float = 0.0
    bank_seconds: float = 0.0

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
    init: Path | None
    """Checkpoint that training starts from."""
    parts: bool
    """Whether checkpoints hold the subset alone."""
    device: torch.device
    progress: Progress
    training: SplitData
    validation: SplitData
    """The samples that judge every checkpoint."""

    def batches(self, phase: Phase, purpose: str) -> Iterator[Batch]:
        """Return the endless training batches of a phase."""
        vary = AUGMENTATIONS[self.recipe.augment]
        return self.training.shuffled(phase.batch_size, seed=self.seed, purpose=purpose, vary=vary)


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
    device: str | None = None,
    init: Path | None = None,
    parts: bool = False,
    overwrite: bool = False,
    progress: AnyProgress = None,
    epochs: int | None = None,
) -> ZooResult:
    """Train `arch` to convergence, then save `k` checkpoints, one a step, that differ in `subset` alone.

    `out` receives `step-00001.safetensors`, …, in `run-R/` where `runs` is above 1 (independent
    initialisations and orders of the data), `zoo.json` (how they were made) and `task.json`: `task_name` and
    `options` are what `load_task` was given, and tell a bank its task. `optimizer` and `lr` are
    those of the bank's steps. Training starts from the checkpoint `init`, if there is one, else from random
    weights. With `parts` the checkpoints hold the subset alone, beside `base.safetensors`, the converged
    network: kilobytes instead of megabytes where the subset is small.

    The same seed gives the same checkpoints, bit for bit, on a CPU at the same number of threads. Without
    `device` a GPU is used if there is one. Raises `UsageError` for a choice that cannot work, `InputError`
    when training diverges.
    """
    if arch not in task.architectures:
        raise unknown(f"architecture of {task.name}", arch, task.architectures)
    if fmt not in FORMATS:
        raise unknown("checkpoint format", fmt, FORMATS)
    for what, value in (("k", k), ("runs", runs), ("epochs", epochs)):
        if value is not None and value < 1:
            raise UsageError(f"{what} is {value}; expected 1 or more")
    if parts and (runs > 1 or subset == "all"):
        raise UsageError("parts of networks are of one run, and of a subset other than all")
    recipe = recipe_for(task_name, arch)
    recipe = recipe if epochs is None else msgspec.structs.replace(recipe, epochs=epochs)
    phase = recipe.bank_phase(subset, optimizer, lr)
    names = select_subset(initialise(task, arch, seed, run=0), subset)
    result, where = ZooResult(out, [], []), choose_device(device)
    with (
        staged_directory(out, marker=ZOO, overwrite=overwrite) as staged,
        seeded(seed, "zoo/forward", device=where),  # networks with dropout draw from torch's own generator
    ):
        data = (
            SplitData(task, "train", device=where),
            SplitData(task, "validation", recipe.validation_samples, device=where),
        )
        if not len(data[1]):
            raise UsageError(
                f"task {task.name}: the validation split has no samples, by which a zoo is judged"
            )
        plan = _Plan(
            task,
            arch,
            recipe,
            phase,
            subset,
            names,
            k,
            seed,
            fmt,
            init,
            parts,
            where,
            as_progress(progress),
            *data,
        )
        with on_threads(_threads(plan)):
            for run in range(runs):
                folder = staged / f"run-{run}" if runs > 1 else staged
                folder.mkdir(exist_ok=True)
                _one_run(plan, folder, run, result)
        write_json(staged / TASK_FILE, TaskRef(task_name, arch, dict(options)))
        write_json(staged / ZOO, _description(plan, result))
    return result


def _threads(plan: _Plan) -> int:
    batches = plan.training.batches(plan.recipe.converge.batch_size)
    network = initialise(plan.task, plan.arch, plan.seed, run=0).to(plan.device)
    return suitable_threads(network, lambda: calls.forward(network, next(batches)[0]))


def _one_run(plan: _Plan, folder: Path, run: int, result: ZooResult) -> None:
    """Train one network and save its checkpoints; add what came of it to `result`."""
    model = initialise(plan.task, plan.arch, plan.seed, run)
    if plan.init is not None:
        load_start(model, plan.init, plan.progress)
    model.to(plan.device)
    phase, n = plan.recipe.converge, len(plan.training)
    steps = plan.recipe.epochs * (n // min(phase.batch_size, n))
    source = plan.batches(phase, f"zoo/train/run-{run}")
    start = perf_counter()
    first = plan.recipe.first
    rest = FrozenRest(model, select_subset(model, first), whole=first == "all")
    converge(plan.task, model, phase, source, steps=steps, progress=plan.progress, rest=rest)
    middle = perf_counter()
    converged = score(plan.task, model, plan.validation)
    plan.progress.message(f"Converged: {plan.task.describe(converged)} on the validation split")
    result.converged.append(converged)
    if plan.parts:
        write_checkpoint(folder / BASE, model, {plan.task.metric_name: converged})
    result.scores += _save_bank(plan, model, folder, run)
    result.train_seconds += middle - start
    result.bank_seconds += perf_counter() - middle


def _save_bank(plan: _Plan, model: nn.Module, folder: Path, run: int) -> list[float]:
    """Take the bank's steps and write a checkpoint after each; returns their scores."""
    scores, metric = [], plan.task.metric_name
    rest = FrozenRest(model, plan.names, whole=plan.subset == "all")
    source = plan.batches(plan.phase, f"zoo/bank/run-{run}")
    with plan.progress.track("Saving checkpoints", plan.k, "checkpoint") as tracker:
        steps = bank_steps(plan.task, model, plan.phase, source, rest)
        names = plan.names if plan.parts else None
        for step, loss in enumerate(islice(steps, plan.k), start=1):
            value = score(plan.task, model, plan.validation)
            facts = {metric: value, "step": step, "run": run}
            write_checkpoint(folder / f"step-{step:05d}.{plan.fmt}", model, facts, names)
            scores.append(value)
            tracker.advance(1, **{"loss": loss, metric: value})
    return scores


def write_checkpoint(
    path: Path, model: nn.Module, facts: Mapping[str, float], names: Sequence[str] | None = None
) -> None:
    """Write the state dict, or the tensors `names` of it, as `.safetensors` or `.pth`, durably.

    `.safetensors` carries the facts (score, step, run) as strings in its metadata; `.pth` is a dictionary
    with `state_dict` and the facts as numbers.
    """
    state = {name: tensor.to("cpu", copy=True) for name, tensor in model.state_dict().items()}  # tied apart
    if names is not None:
        state = {name: state[name] for name in names}
    if path.suffix == ".safetensors":
        texts = {name: str(fact) if isinstance(fact, int) else f"{fact:.6g}" for name, fact in facts.items()}
        write_tensors(path, state, texts)
    else:
        write_torch(path, {"state_dict": state, **facts})


def _description(plan: _Plan, result: ZooResult) -> dict[str, Any]:
    """Return what `zoo.json` says: how the checkpoints were made and how good they are."""
    return {
        "subset": plan.subset,
        "names": plan.names,
        "seed": plan.seed,
        "k": plan.k,
        "runs": len(result.converged),
        "device": str(plan.device),
        "init": None if plan.init is None else str(plan.init.resolve()),
        "recipe": {
            "epochs": plan.recipe.epochs,
            "augment": plan.recipe.augment,
            "first": plan.recipe.first,
            "converge": msgspec.to_builtins(plan.recipe.converge),
            "bank": msgspec.to_builtins(plan.phase),
        },
        "validation_samples": len(plan.validation),
        "metric": plan.task.metric_name,
        "converged": result.converged,
        "seconds": {"train": result.train_seconds, "bank": result.bank_seconds},
        "provenance": provenance(),
    }
