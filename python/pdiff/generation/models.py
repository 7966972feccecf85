"""Open the models to evaluate: folders that `generate` wrote, or anybody's checkpoints beside a bank.

Whatever they are, each model becomes one raw row of the bank, read and checked once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from pdiff import _core
from pdiff.bank import Bank
from pdiff.bank.reading import Request, check_averaged, open_all
from pdiff.checkpoints import Checkpoint, Choice
from pdiff.checkpoints.roles import one_a_step
from pdiff.common.errors import InputError, UsageError
from pdiff.common.progress import SILENT, Progress
from pdiff.common.provenance import DataAccess
from pdiff.common.wording import shown
from pdiff.generation.folders import bank_of, open_folder
from pdiff.generation.generated import Generated
from pdiff.generation.row_cache import RowCache, Rows

Source = Generated | Path | str
"""A folder of models."""


@dataclass(frozen=True)
class Models:
    """The models of one folder; what their maker did not say is None."""

    path: Path
    size: int
    rows: Rows
    generated: Generated | None
    """None for checkpoints that `generate` did not write."""
    files: Sequence[str]
    """Their paths, one a model, which begin with that of the folder."""
    held_out: tuple[int, ...] = ()
    """Members of the bank that they were not learned from."""
    access: DataAccess | None = None
    """What their maker has seen."""

    @property
    def run(self) -> str:
        """What tells their run from others: its digest, else the folder."""
        return self.generated.info.generator.digest if self.generated else str(self.path.resolve())


def open_models(
    models: Source | Sequence[Source],
    bank: Bank | Path | str | None,
    cache: RowCache,
    progress: Progress = SILENT,
) -> tuple[Bank, list[Models]]:
    """Open one folder, or several of one method, and the bank that they are compared with.

    The bank is the one that `generate` noted, unless given. Raises `UsageError` without a bank, for folders
    of several banks and for a folder named twice; `InputError` for what is not of the bank's network.
    """
    sources = [models] if isinstance(models, Generated | Path | str) else list(models)
    folders = [open_folder(source) for source in sources]
    bank = bank_of(folders, bank)
    return bank, [_opened(folder, bank, cache, progress) for folder in folders]


def open_control(name: str, source: Source, bank: Bank, cache: RowCache) -> Models:
    """Open a control, which may be of another bank with the same frozen tensors, but for counters.

    Raises `InputError`, before anything is evaluated, if its first model does not fit.
    """
    try:
        found = _opened(open_folder(source), bank, cache, SILENT, control=True)
        found.rows([0])
    except InputError as error:
        raise InputError(f"control {name!r}: {error}") from None
    return found


def refuse_twice(folders: Sequence[Models]) -> None:
    """Raise `UsageError` if two folders hold the same models, which are then no second run or control."""
    seen: dict[object, Models] = {}
    for folder in folders:
        keys: list[object] = [folder.path.resolve()]
        if folder.generated is not None:
            info = folder.generated.info
            keys += [(info.generator.digest, info.seed), tuple(sorted(info.digests.values()))]
        for key in keys:
            if key in seen:
                raise UsageError(f"{folder.path}: the same models as {seen[key].path}; name each only once")
        seen |= dict.fromkeys(keys, folder)


def _opened(
    folder: Generated | Path, bank: Bank, cache: RowCache, progress: Progress, *, control: bool = False
) -> Models:
    if isinstance(folder, Path):
        read, files = _foreign_rows(folder, bank, progress)
        rows = cache.of(read, len(files), bank.dim, from_files=True)
        return Models(folder, len(files), rows, None, files)
    size, info = len(folder), folder.info
    rows = cache.of(partial(_own_rows, folder, bank, control), size, bank.dim, from_files=True)
    files, held_out = [str(folder.path / name) for name in info.files], () if control else info.held_out
    return Models(folder.path, size, rows, folder, files, held_out, info.access)


def _own_rows(generated: Generated, bank: Bank, control: bool, indices: Sequence[int]) -> Tensor:
    """Return the raw rows [B, D] of models; everything else in their files must be the bank's own."""
    rows = torch.empty(len(indices), bank.dim)
    for row, index in zip(rows, indices, strict=True):
        generated.check(index)
        state, where = generated[index], generated.path / generated.info.files[index]
        for name, tensor in bank.base.items():
            if name in bank.subset_names or (control and _is_counter(tensor)):
                continue
            if not (name in state and torch.equal(state[name], tensor)):
                wanted = "a control has the same network, and what is frozen in it"
                wanted = wanted if control else "evaluate reads what generate wrote"
                raise InputError(f"{where}: {shown(name)} is not the bank's; {wanted}")
        try:
            row.copy_(bank.flatten(state))
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if not bool(row.isfinite().all()):
            raise InputError(f"{where}: holds values that are not finite")
    return rows


def _is_counter(tensor: Tensor) -> bool:
    """Return whether a tensor is a single integer, as BatchNorm's number of batches is."""
    return tensor.dim() == 0 and not tensor.is_floating_point()


def _foreign_rows(folder: Path, bank: Bank, progress: Progress) -> tuple[Rows, list[str]]:
    """Return what reads the raw rows of anybody's checkpoints below a folder, and their names.

    Any format is read, by the rules of `collect`. They have to hold the tensors of the bank's rows; whatever
    else they hold has to be the bank's own, but for counters, and what they lack is the bank's. Raises
    `InputError` naming file and tensor otherwise.
    """
    try:
        opened = open_all(Request((folder,), Choice(), strict=True), progress)
        check_averaged(opened.checkpoints, Choice())
        groups = [replace(group, checkpoints=one_a_step(group, progress)) for group in opened.groups()]
    except InputError as error:
        where = "" if str(error).startswith(f"{folder}: ") else f"{folder}: "
        raise InputError(f"{where}{error}") from None
    base = _core.Checkpoint([bank.path / bank.manifest.base.file])
    for group in groups:
        alike, header = group.checkpoints, group.example.header
        _check_tensors(f"{folder}: {shown(alike[0].source)}", header, base, bank)
        names = [t.name for t in header.tensors if t.name not in bank.subset_names]
        _check_rest(folder, alike, base, [name for name in names if not _is_counter(bank.base[name])])
    kept = {checkpoint.source for group in groups for checkpoint in group.checkpoints}
    checkpoints = [checkpoint for checkpoint in opened.checkpoints if checkpoint.source in kept]
    origins = [checkpoint.origin for checkpoint in checkpoints]

    def read(indices: Sequence[int]) -> Tensor:
        rows = torch.empty(len(indices), bank.dim)
        _core.read_rows(bank.layout, [origins[index] for index in indices], rows.numpy())
        return rows

    return read, [str(folder / checkpoint.source) for checkpoint in checkpoints]


def _check_tensors(where: str, header: _core.Checkpoint, base: _core.Checkpoint, bank: Bank) -> None:
    """Refuse a checkpoint that lacks a tensor of the rows or holds one that the bank's network has not."""
    theirs, ours = (
        {tensor.name: f"{tensor.dtype} {list(tensor.shape)}" for tensor in each.tensors}
        for each in (header, base)
    )
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
    origins = [each.origin for each in checkpoints]
    if not names or not any(_core.varying_tensors([base.origin, *origins], names)):
        return
    for each in checkpoints:
        differing = _core.varying_tensors([base.origin, each.origin], names)
        if wrong := [name for name, differs in zip(names, differing, strict=True) if differs]:
            where = f"{folder}: {shown(each.source)}: {shown(wrong[0])}"
            raise InputError(f"{where} is not the bank's, and the bank's rows do not hold it")
