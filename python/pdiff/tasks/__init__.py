"""Define tasks: problems whose networks `pdiff` can build, train and score, built-in ones and your own."""

from pdiff.tasks.base import Classification, Metric, Split, Task
from pdiff.tasks.data import SplitData
from pdiff.tasks.registry import BUILT_IN, load_task
from pdiff.tasks.regression import Regression

__all__ = ["BUILT_IN", "Classification", "Metric", "Regression", "Split", "SplitData", "Task", "load_task"]
