"""Problems whose networks `pdiff` can build, train and judge: built-in ones and your own."""

from pdiff.tasks.base import Classification, Split, Task
from pdiff.tasks.registry import BUILT_IN, load_task

__all__ = ["BUILT_IN", "Classification", "Split", "Task", "load_task"]
