"""Take the inputs on which a network is looked at."""

from typing import Any

from pdiff.common.errors import UsageError
from pdiff.tasks import SplitData, Task

TRACED = 2
"""Samples on which operations are recorded where no activation is looked at."""


def first_inputs(task: Task, count: int = TRACED) -> Any:
    """Return the inputs of the first training batch, of `count` samples where the task leaves that open.

    Raises `UsageError` for a task without training samples.
    """
    for inputs, _ in SplitData(task, "train", count).batches(count):
        return inputs
    raise UsageError(f"task {task.name}: the train split has no samples, on which networks are looked at")
