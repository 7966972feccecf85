"""Align the members of a bank: put the hidden units of independently trained networks into one order.

Each member's function stays what it is, up to rounding; averages of members and models drawn around them
mean more, since the same number then belongs to units that do the same.
"""

from pathlib import Path
from typing import get_args

import torch

from pdiff.alignment.inputs import TRACED
from pdiff.alignment.matching import matched
from pdiff.alignment.members import Members, Method
from pdiff.bank import Bank
from pdiff.bank.manifest import MANIFEST
from pdiff.bank.rewriting import rewrite
from pdiff.bank.safety import doubts
from pdiff.common.directories import refuse_directory
from pdiff.common.errors import UsageError, unknown
from pdiff.common.progress import AnyProgress, Progress, as_progress
from pdiff.common.wording import agreeing, counted
from pdiff.tasks import Task
from pdiff.tasks.registry import arch_of, as_task, task_of

METHODS: tuple[Method, ...] = get_args(Method)

INPUTS = 500
"""Training inputs, at most a batch, on which activations are compared."""


def align(
    bank: Bank | Path | str,
    *,
    out: str | Path = "aligned",
    method: Method = "activations",
    task: Task | str | None = None,
    arch: str | None = None,
    inputs: int = INPUTS,
    overwrite: bool = False,
    progress: AnyProgress = None,
) -> Bank:
    """Write `bank` with its members' hidden units in one order to directory `out`, and open it.

    Which units can be permuted is derived from what the network of `task` (by default the bank's) and `arch`
    does with a batch of its training data. Units are matched by the correlations of their `activations` on
    the first `inputs` training samples, or by `weights` (Ainsworth et al., arXiv 2209.04836). Only groups of
    units all of whose tensors are in the rows are permuted; it is said how many are not. Raises `UsageError`
    for what was asked, `InputError` for a network whose hidden units cannot be followed, or that has none.
    """
    out, progress = Path(out), as_progress(progress)
    if method not in METHODS:
        raise unknown("method of alignment", method, METHODS)
    if inputs < TRACED:
        raise UsageError(f"inputs is {inputs}; expected {TRACED} or more")
    bank = bank if isinstance(bank, Bank) else Bank.open(bank)
    refuse_directory(out, MANIFEST, overwrite)
    task = task_of(bank) if task is None else as_task(task)
    count = inputs if method == "activations" else TRACED
    members = Members.opened(bank, task, arch_of(bank, task, arch), count)
    _tell(members, progress)
    values, symmetry = members.vectors(method)
    orders = matched(values, len(bank), symmetry, progress)
    done = rewrite(
        bank,
        out,
        lambda index, row: members.symmetry.permuted(row, orders[index]),
        aligned=method,
        overwrite=overwrite,
    )
    progress.message(
        f"aligned by {method}: the members' RMS distance to their mean was {_spread(bank):.4g}, "
        f"it is {_spread(done):.4g}"
    )
    for doubt in doubts(done):
        progress.message(doubt)
    return done


def _tell(members: Members, progress: Progress) -> None:
    """Say what is aligned, and what cannot be."""
    groups, aligned = members.found.groups, len(members.symmetry)
    progress.message(
        f"{counted(aligned, 'group')} of {counted(sum(members.symmetry.units), 'hidden unit')} "
        f"{agreeing(aligned, 'are')} aligned"
    )
    if left := len(groups) - aligned:
        progress.message(
            f"{counted(left, 'group')} of hidden units {agreeing(left, 'stay')} as they are, since the "
            "bank's rows do not hold all their tensors; collect whole networks to align them"
        )


def _spread(bank: Bank) -> float:
    """Return the RMS distance of the rows to their mean."""
    return float(torch.linalg.vector_norm(bank.statistics["element_std"]))
