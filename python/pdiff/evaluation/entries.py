"""The parts of `results.json` that say what was judged, and what made the numbers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pdiff import _core
from pdiff.bank import Bank
from pdiff.common.provenance import provenance
from pdiff.generation import Generated
from pdiff.tasks.base import Split, Task, metric_name, metric_of

__all__ = ["bank_entry", "cost_entry", "provenance_entry", "task_entry"]


def task_entry(task: Task, arch: str, split: Split, samples: int) -> dict[str, Any]:
    """Return what was judged, and by what."""
    own = metric_of(task)
    metric = {
        "name": metric_name(task),
        "higher_is_better": own.higher_is_better if own else True,
        "percent": own.percent if own else True,
    }
    return {"name": task.name, "arch": arch, "split": split, "samples": samples, "metric": metric}


def bank_entry(bank: Bank, held_out: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    """Return the bank; held out are the members that no run has learned from."""
    return {
        "path": str(bank.path.resolve()),
        "digest": bank.digest,
        "members": len(bank),
        "dim": bank.dim,
        "held_out": sorted(set.intersection(*map(set, held_out))),
    }


def cost_entry(runs: Sequence[Generated], evaluate_s: float) -> dict[str, Any]:
    """Return what a run costs once and for each model, means over runs, and what this evaluation took."""
    costs = [run.info.cost for run in runs]
    return {
        "once_s": sum(cost.once_s for cost in costs) / len(costs),
        "per_model_s": sum(cost.per_model_s for cost in costs) / len(costs),
        "gradient_evaluations": max(cost.gradient_evaluations for cost in costs),
        "evaluate_s": evaluate_s,
    }


def provenance_entry(
    runs: Sequence[Generated],
    task: Task,
    split: Split,
    *,
    seed: int,
    baselines_n: int,
    device: torch.device,
) -> dict[str, Any]:
    """Return what made these numbers: versions, seeds, digests and counts; of several runs, the first's."""
    first = runs[0]
    inputs, targets = task.data(split)
    return {
        **provenance(device),
        "seed": seed,
        "generation": {"seed": first.info.seed, "preset": first.info.run.preset},
        "digests": {
            "bank": first.bank.digest,
            "run": first.info.run.digest,
            "inputs": _digest(inputs),
            "targets": _digest(targets),
        },
        "sample_counts": {
            "samples": len(targets),
            "original": len(first.bank),
            "generated": sum(map(len, runs)),
            "each_baseline": baselines_n,
        },
    }


def _digest(tensor: Tensor) -> str:
    """Return the BLAKE3 of a tensor's bytes."""
    return _core.digest(tensor.flatten().view(torch.uint8).numpy())
