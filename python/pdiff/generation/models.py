"""Open the models to evaluate: folders that `generate` wrote, or anybody's checkpoints beside a bank.

Whatever they are, each model becomes one raw row of the bank, read and checked once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.errors import InputError, UsageError
from pdiff.common.progress import SILENT, Progress
from pdiff.common.provenance import DataAccess
from pdiff.common.wording import shown
from pdiff.generation.foreign import foreign_rows, is_counter
from pdiff.generation.generated import GENERATED, Generated
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


def bank_of(folders: Sequence[Generated | Path], bank: Bank | Path | str | None) -> Bank:
    """Return the bank of all folders: the one given, or the one that `generate` noted."""
    if not folders:
        raise UsageError("no models to evaluate; name at least one folder")
    ours = [folder for folder in folders if isinstance(folder, Generated)]
    if bank is None:
        if not ours:
            raise UsageError(
                f"{folders[0]}: not written by `pdiff generate`; say of which bank they are (--bank BANK)"
            )
        bank = ours[0].bank
    bank = bank if isinstance(bank, Bank) else Bank.open(bank)
    for one in ours:
        if one.info.bank.digest != bank.digest:
            raise UsageError(
                f"{one.path}: of another bank than {bank.path}; runs of one method share a bank, and other "
                "folders are controls (--control NAME=DIR)"
            )
    return bank


def open_control(name: str, source: Source, bank: Bank, cache: RowCache) -> Models:
    """Open a control, which may be of another bank with the same frozen tensors, but for counters.

    Raises `InputError`, before anything is evaluated, if its first model does not fit.
    """
    try:
        found = _opened(open_folder(source), bank, cache, SILENT, counters=True)
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


def open_folder(source: Source) -> Generated | Path:
    """Return a folder that `generate` wrote opened, another one as its path."""
    if isinstance(source, Generated):
        return source
    path = Path(source)
    ours = (path / GENERATED).is_file() or not path.exists()  # which says that there is nothing
    return Generated.open(path) if ours else path


def _opened(
    folder: Generated | Path, bank: Bank, cache: RowCache, progress: Progress, *, counters: bool = False
) -> Models:
    if isinstance(folder, Path):
        make, size = foreign_rows(folder, bank, progress)
        return Models(folder, size, cache.of(make, size, bank.dim, from_files=True), None)

    def read(indices: Sequence[int]) -> Tensor:
        return torch.stack([_row(folder, bank, index, counters=counters) for index in indices])

    return Models(
        folder.path,
        len(folder),
        cache.of(read, len(folder), bank.dim, from_files=True),
        folder,
        () if counters else tuple(folder.info.held_out),
        folder.info.access,
    )


def _row(generated: Generated, bank: Bank, index: int, *, counters: bool) -> Tensor:
    """Return the raw row [D] of one model; everything else in its file must be the bank's own."""
    generated.check(index)
    state = generated[index]
    where = generated.path / generated.info.files[index]
    for name, tensor in bank.base.items():
        if name in bank.subset_names or (counters and is_counter(tensor)):
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
    False: "evaluate reads what generate wrote",
    True: "a control has the same network, and what is frozen in it",
}
