"""Read anybody's checkpoints as rows of a bank, in any format and by the rules of `collect`."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pdiff import _core
from pdiff.bank import Bank
from pdiff.checkpoints import Checkpoint, Choice, find_checkpoints, open_checkpoints
from pdiff.common.errors import InputError
from pdiff.common.progress import Progress
from pdiff.common.wording import shown
from pdiff.generation.row_cache import Rows


def is_counter(tensor: Tensor) -> bool:
    """Return whether a tensor is a single integer, as BatchNorm's number of batches is."""
    return tensor.dim() == 0 and not tensor.is_floating_point()


def foreign_rows(folder: Path, bank: Bank, progress: Progress) -> tuple[Rows, int]:
    """Return what reads the raw rows of the checkpoints below a folder, and how many there are.

    They have to hold the tensors of the bank's rows; whatever else they hold has to be the bank's own, but
    for counters, and what they lack is the bank's. Raises `InputError` naming file and tensor otherwise.
    """
    found = find_checkpoints([folder])
    opened = open_checkpoints(found, Choice(), progress)
    for source, why in (*found.refused, *opened.refused):
        raise InputError(f"{folder}: {shown(source)}: {why}")
    if not opened.checkpoints:
        raise InputError(f"{folder}: no checkpoint (.safetensors, .pt, .pth, .bin, .ckpt)")
    base = _core.Checkpoint([bank.path / bank.manifest.base.file])
    for kind, example in opened.examples.items():
        alike = [each for each in opened.checkpoints if each.kind == kind]
        _check_tensors(f"{folder}: {shown(alike[0].source)}", example.header, base, bank)
        names = [tensor.name for tensor in example.header.tensors]
        _check_rest(folder, alike, base, [name for name in names if _is_rest(name, bank)])
    origins = [checkpoint.origin for checkpoint in opened.checkpoints]

    def read(indices: Sequence[int]) -> Tensor:
        rows = torch.empty(len(indices), bank.dim)
        _core.read_rows(bank.layout, [origins[index] for index in indices], rows.numpy())
        return rows

    return read, len(origins)


def _is_rest(name: str, bank: Bank) -> bool:
    """Return whether a tensor has to be the bank's own."""
    return name not in bank.subset_names and not is_counter(bank.base[name])


def _check_tensors(where: str, header: _core.Checkpoint, base: _core.Checkpoint, bank: Bank) -> None:
    """Refuse a checkpoint that lacks a tensor of the rows or holds one that the bank's network has not."""
    theirs = {tensor.name: f"{tensor.dtype} {list(tensor.shape)}" for tensor in header.tensors}
    ours = {tensor.name: f"{tensor.dtype} {list(tensor.shape)}" for tensor in base.tensors}
    for segment in bank.layout.segments:
        if segment.name not in theirs:
            raise InputError(f"{where}: lacks {shown(segment.name)}, which the bank's rows hold")
    for name, found in theirs.items():
        if name not in ours:
            raise InputError(f"{where}: holds {shown(name)}, which the bank's network has not")
        if found != ours[name]:
            raise InputError(f"{where}: holds {shown(name)} as {found}, not {ours[name]}")


def _check_rest(
    folder: Path, checkpoints: Sequence[Checkpoint], base: _core.Checkpoint, names: Sequence[str]
) -> None:
    """Refuse checkpoints of one kind in which one of these tensors is not the bank's own."""
    if not names or not _differing([base.origin, *(each.origin for each in checkpoints)], names):
        return
    for each in checkpoints:
        for name in _differing([base.origin, each.origin], names):
            raise InputError(
                f"{folder}: {shown(each.source)}: {shown(name)} is not the bank's, and the bank's rows do "
                "not hold it"
            )


def _differing(origins: Sequence[_core.Origin], names: Sequence[str]) -> list[str]:
    """Return the tensors that are not the same in all checkpoints."""
    flags: Iterable[bool | None] = _core.varying_tensors(origins, names)
    return [name for name, differs in zip(names, flags, strict=True) if differs]
