"""Which network is judged: its task, its architecture, and the hidden units whose order does not matter."""

from pdiff.bank import Bank
from pdiff.common.errors import UsageError, unknown
from pdiff.evaluation.permutations import Symmetry
from pdiff.tasks import load_task
from pdiff.tasks.base import Permutations, Task, permutations_of

__all__ = ["arch_of", "groups_of", "task_of"]


def task_of(bank: Bank) -> Task:
    """Return the task that the bank names."""
    if bank.task is None:
        raise UsageError(
            f"{bank.path}: the bank names no task; say which with --task NAME or FILE.py:FACTORY"
        )
    return load_task(bank.task.name, **bank.task.options)


def arch_of(bank: Bank, task: Task, asked: str | None) -> str:
    """Return the architecture that is asked for, else the bank's if the task has it, else the task's default.

    Raises `UsageError` if the task has none of the name that is asked for.
    """
    if asked is not None:
        if asked not in task.architectures:
            raise unknown(f"architecture of {task.name}", asked, task.architectures)
        return asked
    if bank.task is not None and bank.task.arch in task.architectures:
        return bank.task.arch
    return task.architectures[0]


def groups_of(bank: Bank, task: Task, arch: str) -> Permutations:
    """Return the groups of hidden units to align; raises `UsageError` if there is none in the bank."""
    groups = permutations_of(task, arch)
    if not Symmetry(bank.layout, groups).groups:
        raise UsageError(
            f"--align: {task.name} declares no hidden units of {arch!r} whose weights the bank holds whole; "
            "leave --align out, or declare them (`permutations` of the task)"
        )
    return groups
