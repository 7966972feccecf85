"""Align the members of a bank, whose networks were trained independently of one another.

Hidden units are put into one order, or the factors of LoRA adapters are chosen alike. Each member's function
stays what it is, up to rounding; averages of members and models drawn around them mean more, since the same
number then has the same part in what they do.
"""

from pathlib import Path
from typing import Literal, get_args

import torch

from pdiff.alignment import members as networks
from pdiff.alignment.inputs import TRACED
from pdiff.alignment.lora import factors_aligned
from pdiff.alignment.matching import matched
from pdiff.alignment.members import Members
from pdiff.bank import Bank
from pdiff.bank.manifest import MANIFEST
from pdiff.bank.rewriting import Change, rewrite
from pdiff.bank.safety import doubts
from pdiff.common.directories import refuse_directory
from pdiff.common.errors import UsageError, unknown
from pdiff.common.progress import AnyProgress, Progress, as_progress
from pdiff.common.wording import agreeing, counted
from pdiff.tasks import Task
from pdiff.tasks.registry import arch_of, as_task, task_of

Method = networks.Method | Literal["lora"]
METHODS: tuple[Method, ...] = (*get_args(networks.Method), "lora")

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
    """Write `bank` with its members aligned to directory `out`, and open it.

    Which hidden units can be permuted is derived from what the network of `task` (by default the bank's) and
    `arch` does with a batch of its training data. Units are matched by the correlations of their
    `activations` on the first `inputs` training samples, or by `weights` (Ainsworth et al., arXiv
    2209.04836). Only groups of units all of whose tensors are in the rows are permuted; it is said how many
    are not. `lora` needs no task: of all factors that make the same LoRA adapter those close to the other
    members' are taken. Raises `UsageError` for what was asked, `InputError` for a network whose hidden units
    cannot be followed, or that has none.
    """
    out, progress = Path(out), as_progress(progress)
    if method not in METHODS:
        raise unknown("method of alignment", method, METHODS)
    if inputs < TRACED:
        raise UsageError(f"inputs is {inputs}; expected {TRACED} or more")
    bank = bank if isinstance(bank, Bank) else Bank.open(bank)
    refuse_directory(out, MANIFEST, overwrite)
    if method == "lora":
        if task is not None or arch is not None:
            raise UsageError("task and arch are not for aligning by lora, which runs no network")
        change = factors_aligned(bank, progress)
    else:
        task = task_of(bank) if task is None else as_task(task)
        count = inputs if method == "activations" else TRACED
        members = Members.opened(bank, task, arch_of(bank, task, arch), count)
        change = _units_aligned(members, method, progress)
    done = rewrite(bank, out, change, aligned=method, overwrite=overwrite)
    progress.message(
        f"aligned by {method}: the members' RMS distance to their mean was {_spread(bank):.4g}, "
        f"it is {_spread(done):.4g}"
    )
    for doubt in doubts(done):
        progress.message(doubt)
    return done


def _units_aligned(members: Members, method: networks.Method, progress: Progress) -> Change:
    """Return what puts the hidden units of a member into the order of all others'."""
    _tell(members, progress)
    values, symmetry = members.vectors(method)
    orders = matched(values, len(members.bank), symmetry, progress)
    return lambda index, row: members.symmetry.permuted(row, orders[index])


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
