"""Measure distances between networks after their hidden units, which have no order, were matched."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pdiff.bank import Bank, Normalizer
from pdiff.common.errors import InputError, UsageError
from pdiff.tasks.base import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pdiff.alignment.groups import Group


def aligned_distances(
    bank: Bank, rows: Tensor, normalizer: Normalizer, groups: "Sequence[Group]", itself: Tensor | None = None
) -> Tensor:
    """Return each row's L2 distance to the nearest member, after aligning it to each: [M, D] → f64 [M].

    Rows are normalised by one mean and std a tensor, which permutations leave alone. `itself` int64 [M], for
    rows that are members, is the member that does not count. M·K alignments: meant for banks of small
    networks from several trajectories.
    """
    from pdiff.alignment.symmetry import row_symmetry  # noqa: PLC0415 (seldom needed)

    symmetry = row_symmetry(bank, groups)
    nearest = torch.full((len(rows),), torch.inf, dtype=torch.float64)
    ours = rows.double().numpy()
    for member in range(len(bank)):
        target = bank.batch([member], normalizer)[0].double().numpy()
        for index, row in enumerate(ours):
            if itself is None or int(itself[index]) != member:
                aligned = symmetry.permuted(row, symmetry.match(row, target))
                nearest[index] = min(float(nearest[index]), float(np.linalg.norm(aligned - target)))
    return nearest


def symmetric_groups(bank: Bank, task: Task, arch: str) -> "tuple[Group, ...]":
    """Return the groups of hidden units to align; raises `UsageError` if there is none in the bank."""
    from pdiff.alignment.groups import symmetries  # noqa: PLC0415 (seldom needed)
    from pdiff.alignment.inputs import first_inputs  # noqa: PLC0415
    from pdiff.alignment.symmetry import row_symmetry  # noqa: PLC0415

    name = f"{task.name} {arch}"
    try:
        groups = symmetries(task.build(arch), first_inputs(task), name).groups
    except InputError as error:
        raise UsageError(f"--align: {error}; leave --align out") from None
    if not len(row_symmetry(bank, groups)):
        raise UsageError(f"--align: the bank's rows hold no hidden units of {name} whole; leave --align out")
    return groups
