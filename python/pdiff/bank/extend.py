"""New members for a bank that exists: its shards stay as they are, a new manifest is the moment of change."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pdiff import _core
from pdiff.bank.bank import Bank
from pdiff.bank.manifest import BASE, SHARDS, ShardEntry
from pdiff.bank.notes import describe, describe_subset
from pdiff.bank.reading import Request, check_averaged, check_ties, open_all
from pdiff.bank.selection import compared, floating
from pdiff.bank.shards import Rows, ShardWriter
from pdiff.bank.writer import rows_bytes, write_statistics
from pdiff.checkpoints import difference, open_one
from pdiff.checkpoints.records import Candidate, Checkpoint, Choice, Example, Opened
from pdiff.directories import locked
from pdiff.disk import require_space
from pdiff.errors import InputError
from pdiff.progress import Progress
from pdiff.wording import shown, some

__all__ = ["extend_bank", "open_base", "remove_orphans"]

_STATISTICS = "stats-{:05d}.safetensors"


def extend_bank(path: Path, request: Request, base: Path | None, progress: Progress) -> None:
    """Add the checkpoints that `request` names to the bank at `path`; those that are in it count once.

    They must hold the tensors of the bank's rows. The rest must be the bank's own, bit for bit, unless the
    bank was collected with a base of its own choice, or `base` (equal to the bank's) says that it may differ.
    Until the new manifest is in place the bank is the old one; what an extension that was killed left is
    removed by the next. Raises `UsageError` if there is no bank or another process extends it.
    """
    Bank.open(path)  # no lock where there is no bank
    with locked(path, "extending"):
        bank = Bank.open(path)
        _tidy(path, bank)
        checkpoints = _fitting(bank, request, base, progress)
        require_space(path, rows_bytes(len(checkpoints), bank.layout, bank.manifest.dtype))
        with _undone(path):
            _add(bank, checkpoints, progress)


def _add(bank: Bank, checkpoints: Sequence[Checkpoint], progress: Progress) -> None:
    """Write rows, statistics and manifest."""
    manifest = bank.manifest
    rows = Rows(list(manifest.shards), list(manifest.members), {member.digest for member in manifest.members})
    first = max((_number(shard) for shard in manifest.shards), default=-1) + 1
    ShardWriter(bank.path, bank.layout, dtype=manifest.dtype).write(checkpoints, rows, first, progress)
    added = len(rows.members) - len(manifest.members)
    progress.message(f"{added} new checkpoints, {len(checkpoints) - added} are in the bank already")
    if not added:
        return
    old = manifest.statistics
    number = int("".join(filter(str.isdigit, old.file)) or 0) + 1
    statistics = write_statistics(bank.path, _STATISTICS.format(number), rows.shards, bank.layout)
    msgspec.structs.replace(
        manifest, shards=tuple(rows.shards), members=tuple(rows.members), statistics=statistics
    ).write(bank.path)
    (bank.path / old.file).unlink(missing_ok=True)


@contextmanager
def _undone(path: Path) -> Iterator[None]:
    """Leave the bank as its manifest says if the block fails."""
    try:
        yield
    except BaseException:
        _tidy(path, Bank.open(path))
        raise


def _tidy(path: Path, bank: Bank) -> None:
    """Remove shards and statistics that the manifest does not name, and what killed processes left."""
    for folder in (path, path / SHARDS):
        _core.remove_stale(folder)
    remove_orphans(path / SHARDS, {Path(shard.file).name for shard in bank.manifest.shards})
    for orphan in path.glob("stats*.safetensors"):
        if orphan.name != bank.manifest.statistics.file:
            orphan.unlink()


def remove_orphans(shards: Path, names: set[str]) -> None:
    """Remove the shard files that are not among `names`."""
    for orphan in shards.glob("*.safetensors"):
        if orphan.name not in names:
            orphan.unlink()


def _number(shard: ShardEntry) -> int:
    return int(Path(shard.file).stem)


def _fitting(bank: Bank, request: Request, base: Path | None, progress: Progress) -> list[Checkpoint]:
    """Return the checkpoints that can be rows of the bank; raises `InputError` if any cannot."""
    opened = open_all(request, progress)
    own = _own_base(bank)
    rest = [t.name for t in floating(own.header.tensors) if t.name not in bank.subset_names]
    if base is not None:
        given = open_base(base, request.choice, own)
        if different := compared([own.header.origin, given], rest, progress):
            raise InputError(
                f"{base}: {shown(min(different))} differs from the bank's; "
                f"{bank.path / BASE} takes the bank's own"
            )
    free = bank.manifest.base_given or base is not None
    kinds = _kinds(bank, opened, own, free=free, majority=request.majority, progress=progress)
    checkpoints = [checkpoint for checkpoint in opened.checkpoints if checkpoint.kind in kinds]
    for kind in kinds:
        example = opened.examples[kind]
        notes = [*describe(checkpoints, example), *describe_subset(example.header.tensors, bank.layout)]
        for note in notes:
            progress.message(note)
    check_averaged(checkpoints, request.choice, bank.manifest.source.averaged)
    check_ties(checkpoints, bank.manifest.tied)
    if not free:
        _check_rest(bank, own, checkpoints, rest, progress)
    return checkpoints


def _kinds(
    bank: Bank, opened: Opened, own: Example, *, free: bool, majority: bool, progress: Progress
) -> list[str]:
    """Return the kinds of checkpoint that fit the bank; the others are refused, or left out if `majority`."""
    fitting = []
    for kind, count in opened.kinds():
        example = opened.examples[kind]
        if kind == bank.manifest.kind or (free and _holds_rows(bank, example)):
            fitting.append(kind)
            continue
        what = f"{example.candidate.source} {difference(own, example)}: it does not fit {bank.path}"
        if not majority:
            raise InputError(f"{what}; leave it out, or take those that fit with --majority")
        progress.message(f"{what}; {count} such checkpoints are left out")
    if not fitting:
        raise InputError(f"no checkpoint fits {bank.path}")
    return fitting


def _holds_rows(bank: Bank, example: Example) -> bool:
    """Return whether a checkpoint has the tensors of a row, with dtype and shape."""
    found = {t.name: (t.dtype, t.shape) for t in example.header.tensors}
    same_adapter = example.candidate.adapter == bank.manifest.source.adapter
    return same_adapter and all(found.get(s.name) == (s.dtype, s.shape) for s in bank.layout.segments)


def _check_rest(
    bank: Bank, own: Example, checkpoints: Sequence[Checkpoint], rest: Sequence[str], progress: Progress
) -> None:
    """Raise `InputError` if anything that is not generated is not the bank's own."""
    origins = [own.header.origin, *(checkpoint.origin for checkpoint in checkpoints)]
    if different := sorted(compared(origins, rest, progress)):
        raise InputError(
            f"{some(different, 1)} differ from the bank's, and are not generated; say with "
            f"--base {bank.path / BASE} that the bank's values are to be used"
        )


def _own_base(bank: Bank) -> Example:
    """Return the bank's base as an example of its members."""
    path = bank.path / BASE
    source = bank.manifest.source
    candidate = Candidate(str(path), (path,), source.shape, adapter=source.adapter)
    return Example(candidate, _core.Checkpoint([path]))


def open_base(base: Path, choice: Choice, example: Example) -> _core.Origin:
    """Return where the weights of the checkpoint `base` are, which must be of the same network.

    `choice` is for torch files; a safetensors file holds one set of weights.
    """
    try:
        found = open_one(base, Choice() if base.suffix == ".safetensors" else choice)
    except InputError as error:
        raise InputError(f"{error} (--base)") from None
    if found.header.kind != example.header.kind:
        raise InputError(f"{base} {difference(example, found)}; --base must be of the same network")
    return found.header.origin
