"""The model that one would take: the best on validation, with what it is worth on test."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pdiff.evaluation.judge import Judged
from pdiff.tasks.base import Metric, Task

__all__ = ["has_validation", "selected"]


def has_validation(task: Task) -> bool:
    """Return whether the task has validation samples."""
    return len(task.data("validation")[1]) > 0


def selected(validation: Sequence[Judged], test: Sequence[Judged]) -> dict[str, Any]:
    """Return `{index, validation, test}` of the model that is best on validation, the first of several.

    Several populations are runs, whose models are counted through.
    """
    chosen_by, worth = _scores(validation), _scores(test)
    index = int((_sign(validation[0].metric) * chosen_by).argmax())
    return {"index": index, "validation": float(chosen_by[index]), "test": float(worth[index])}


def _scores(populations: Sequence[Judged]) -> Tensor:
    """Return the scores of all models: f64 [M]."""
    return torch.cat([each.scores() for each in populations])


def _sign(metric: Metric | None) -> int:
    """Return 1 if more is better, else −1."""
    return 1 if metric is None or metric.higher_is_better else -1
