"""`evaluate`: originals, generated models, their ensemble and the baselines, through the same code."""

from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Any

import msgspec
import torch
from torch import Tensor

from pdiff import _core
from pdiff.bank import Bank
from pdiff.errors import InputError, UsageError
from pdiff.evaluation.baselines import baseline_populations, ensemble
from pdiff.evaluation.families import Population
from pdiff.evaluation.judge import judge
from pdiff.evaluation.predict import Predictor
from pdiff.evaluation.results import FORMAT, comparison
from pdiff.evaluation.weights import weigh
from pdiff.generation import Generated
from pdiff.progress import SILENT, Progress
from pdiff.provenance import provenance
from pdiff.tasks import load_task
from pdiff.tasks.base import Split, Task

__all__ = ["evaluate"]


def evaluate(
    generated: Generated,
    *,
    task: Task | str | None = None,
    arch: str | None = None,
    batch_size: int = 1000,
    split: Split = "test",
    seed: int = 0,
    baselines_n: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Judge generated models beside their bank and return the results (`report.save_report` writes them).

    Every model is judged on the whole `split`, in its fixed order, and nothing is chosen by what it shows.
    Accuracies are fractions, distances in units of each tensor's std. `task` and `arch` are the bank's own
    unless given. `seed` draws the baselines, of which there are `baselines_n` models each (as many as
    generated ones by default). Raises `InputError` if the network does not take the checkpoints or a
    generated value is not finite, `UsageError` for options that cannot work.
    """
    started = perf_counter()
    bank = generated.bank
    task = load_task(task) if isinstance(task, str) else task or _task(bank)
    arch = arch or _arch(bank, task)
    size = len(generated) if baselines_n is None else baselines_n
    if size < 1 or len(bank) < 2:
        raise UsageError(f"{size} baselines of a bank of {len(bank)}: at least 1 and 2 are wanted")
    predictor = Predictor(bank, task, arch, split=split, batch_size=batch_size)
    compared = [
        Population("original", None, len(bank), bank.batch),
        Population("generated", None, len(generated), partial(_generated_rows, generated)),
    ]
    others = [
        Population("ensemble", None, 1, lambda _: ensemble(bank)),
        *baseline_populations(bank, size, seed),
    ]
    models = sum(population.size for population in (*compared, *others))
    with progress.track("Evaluating", models, "model") as tracker:
        judged = [judge(each, predictor, tracker) for each in (*compared, *others)]
    weights = [weigh(each.population, bank, distances=each.population in compared) for each in judged]
    original, ours, mean, *rivals = zip(judged, weights, strict=True)
    return {
        "format": FORMAT,
        "task": {"name": task.name, "arch": arch, "split": split, "samples": predictor.samples},
        "bank": {
            "path": str(bank.path.resolve()),
            "digest": bank.digest,
            "members": len(bank),
            "dim": bank.dim,
        },
        **comparison(original, ours, mean, rivals, f"{predictor.samples:,} {split} samples"),
        "cost": {**msgspec.to_builtins(generated.info.cost), "evaluate_s": perf_counter() - started},
        "provenance": _provenance(generated, task, split, seed, size),
    }


def _task(bank: Bank) -> Task:
    """Return the task that the bank names."""
    if bank.task is None:
        raise UsageError(
            f"{bank.path}: the bank names no task; say which with --task NAME or FILE.py:FACTORY"
        )
    return load_task(bank.task.name, **bank.task.options)


def _arch(bank: Bank, task: Task) -> str:
    """Return the bank's architecture if the task has it, else the task's default."""
    if bank.task is not None and bank.task.arch in task.architectures:
        return bank.task.arch
    return task.architectures[0]


def _generated_rows(generated: Generated, indices: Sequence[int]) -> Tensor:
    """Return raw rows [B, D] of generated models, read from their files."""
    return torch.stack([_generated_row(generated, index) for index in indices])


def _generated_row(generated: Generated, index: int) -> Tensor:
    """Return the raw row [D] of one model; everything else in its file must be the bank's own."""
    bank, state = generated.bank, generated[index]
    where = generated.path / generated.info.files[index]
    for name, tensor in bank.base.items():
        if name not in bank.subset_names and not (name in state and torch.equal(state[name], tensor)):
            raise InputError(f"{where}: {name} is not the bank's; evaluate judges what generate wrote")
    row = bank.flatten(state)
    if not bool(row.isfinite().all()):
        raise InputError(f"{where}: holds values that are not finite")
    return row


def _provenance(
    generated: Generated, task: Task, split: Split, seed: int, baselines_n: int
) -> dict[str, Any]:
    """Return what made these numbers: versions, seeds, digests and counts."""
    inputs, targets = task.data(split)
    return {
        **provenance(),
        "seed": seed,
        "generation": {"seed": generated.info.seed, "preset": generated.info.run.preset},
        "digests": {
            "bank": generated.bank.digest,
            "run": generated.info.run.digest,
            "inputs": _digest(inputs),
            "targets": _digest(targets),
        },
        "sample_counts": {
            "samples": len(targets),
            "original": len(generated.bank),
            "generated": len(generated),
            "each_baseline": baselines_n,
        },
    }


def _digest(tensor: Tensor) -> str:
    """Return the BLAKE3 of a tensor's bytes."""
    return _core.digest(tensor.flatten().view(torch.uint8).numpy())
