"""The folders that are judged, as populations: runs of one method, and its controls."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.errors import InputError, UsageError
from pdiff.common.wording import shown
from pdiff.evaluation.families import Population
from pdiff.generation import Generated

__all__ = ["control_populations", "refuse_twice", "run_populations", "same_bank"]


def same_bank(runs: Sequence[Generated]) -> Bank:
    """Return the bank of all runs; raises `UsageError` if there is none or they have several."""
    if not runs:
        raise UsageError("no generated checkpoints; name at least one folder")
    bank = runs[0].bank
    for run in runs[1:]:
        if run.info.bank.digest != bank.digest:
            raise UsageError(
                f"{run.path}: of another bank than {runs[0].path}; runs of one method share a bank, "
                "and other folders are controls (--control NAME=DIR)"
            )
    return bank


def refuse_twice(folders: Sequence[Generated]) -> None:
    """Raise `UsageError` if two folders hold the same models, which are then no second run or control."""
    seen: dict[object, Generated] = {}
    for folder in folders:
        for key in ((folder.info.run.digest, folder.info.seed), tuple(sorted(folder.info.digests.values()))):
            if key in seen:
                raise UsageError(f"{folder.path}: the same models as {seen[key].path}; name each only once")
            seen[key] = folder


def run_populations(runs: Sequence[Generated], bank: Bank) -> list[Population]:
    """Return one population for each generated folder."""
    return [
        Population("generated", None, len(run), partial(_rows, run, bank), run=index)
        for index, run in enumerate(runs)
    ]


def control_populations(controls: Mapping[str, Generated], bank: Bank) -> list[Population]:
    """Return one population for each control, called by its name; its own bank may be another one.

    Raises `InputError` if the first model of one is of another network than the bank's.
    """
    for name, control in controls.items():
        _control_rows(name, control, bank, [0])  # now, not after everybody else has been judged
    return [
        Population(name, None, len(control), partial(_control_rows, name, control, bank))
        for name, control in controls.items()
    ]


def _control_rows(name: str, control: Generated, bank: Bank, indices: Sequence[int]) -> Tensor:
    """Return raw rows [B, D] of a control's models, of which counters may differ from the bank's."""
    try:
        return torch.stack([_row(control, bank, index, counters=True) for index in indices])
    except InputError as error:
        raise InputError(f"control {name!r}: {error}") from None


def _rows(generated: Generated, bank: Bank, indices: Sequence[int]) -> Tensor:
    """Return raw rows [B, D] of models, read from their files."""
    return torch.stack([_row(generated, bank, index) for index in indices])


def _row(generated: Generated, bank: Bank, index: int, *, counters: bool = False) -> Tensor:
    """Return the raw row [D] of one model; everything else in its file must be the bank's own."""
    generated.check(index)
    state = generated[index]
    where = generated.path / generated.info.files[index]
    for name, tensor in bank.base.items():
        if name in bank.subset_names or (counters and _is_counter(tensor)):
            continue
        if not (name in state and torch.equal(state[name], tensor)):
            raise InputError(f"{where}: {shown(name)} is not the bank's; {_WANTED[counters]}")
    try:
        row = bank.flatten(state)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if not bool(row.isfinite().all()):
        raise InputError(f"{where}: holds values that are not finite")
    return row


_WANTED = {
    False: "evaluate judges what generate wrote",
    True: "a control has the same network, and what is frozen in it",
}


def _is_counter(tensor: Tensor) -> bool:
    """Return whether a tensor is a single integer, as BatchNorm's number of batches is."""
    return tensor.dim() == 0 and not tensor.is_floating_point()
