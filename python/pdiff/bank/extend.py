"""Extend a bank: add shards, then replace the manifest, which is the moment of change."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from pdiff import _core
from pdiff.bank.bank import Bank
from pdiff.bank.base import is_at, open_base
from pdiff.bank.manifest import BASE, SHARDS
from pdiff.bank.reading import Request, check_averaged, check_ties, describe, not_finite, open_all
from pdiff.bank.selection import carried, compared, describe_subset, floating
from pdiff.bank.shards import ShardWriter, Written, remove_orphans
from pdiff.bank.tables import Table, conditioned, named
from pdiff.bank.writer import rows_bytes, write_statistics
from pdiff.checkpoints import difference
from pdiff.checkpoints.parts import whole_beside
from pdiff.checkpoints.records import Candidate, Checkpoint, Example, Opened
from pdiff.checkpoints.roles import one_a_step
from pdiff.common.directories import locked, require_space, require_writable
from pdiff.common.errors import InputError, UsageError, noted
from pdiff.common.progress import Progress
from pdiff.common.wording import agreeing, counted, shown, some

_STATISTICS = "stats-{:05d}.safetensors"


def extend_bank(
    path: Path, request: Request, base: Path | None, progress: Progress, *, skip_nonfinite: bool = False
) -> None:
    """Add the checkpoints that `request` names to the bank at `path`; those whose rows it has count once.

    They must hold the tensors of the bank's rows. The rest must be the bank's own, bit for bit, unless the
    bank was collected with a base of its own choice, or `base` (equal to the bank's) says that it may differ.
    That file, or the one whole network beside parts of it, is no new member.
    With `skip_nonfinite`, those whose rows would hold NaN or infinity are left out.
    The rest is looked at in new checkpoints only: read in one, and that one compared with the others as
    `collect` does it. Until the new manifest is in place the bank is the old one; what an extension that was
    killed left is removed by the next. Raises `UsageError` if there is no bank, if its members are aligned or
    another process extends it.
    """
    Bank.open(path)  # no lock where there is no bank
    for folder in (path, path / SHARDS):
        require_writable(path, folder)
    with locked(path, "extending"):
        bank = Bank.open(path)
        if bank.manifest.aligned:
            raise UsageError(f"{path}: its members are aligned; collect all checkpoints anew with --align")
        _tidy(path, bank)
        own, opened = _own_base(bank), open_all(request, progress)
        if base is None and bank.manifest.base_given and not request.majority:
            base = whole_beside(opened)
        if base is not None:
            _check_base(bank, own, base, request, progress)
            opened = _without(opened, base, bank.manifest.kind)
        free = bank.manifest.base_given or base is not None
        checkpoints = _fitting(bank, request, opened, own, free=free, progress=progress)
        if skip_nonfinite:
            bad = not_finite(checkpoints, bank.layout, progress)
            checkpoints = [checkpoint for checkpoint in checkpoints if checkpoint.source not in bad]
        require_space(path, rows_bytes(len(checkpoints), bank.layout, bank.manifest.dtype))
        try:
            _add(bank, checkpoints, None if free else own, request.conditions, progress)
        except BaseException:
            _tidy(path, Bank.open(path))  # leave the bank as its manifest says
            raise


def _add(
    bank: Bank,
    checkpoints: Sequence[Checkpoint],
    own: Example | None,
    conditions: Table | None,
    progress: Progress,
) -> None:
    """Write rows, statistics and manifest; what is new must have the rest of `own`, if given."""
    manifest = bank.manifest
    rows = Written(list(manifest.shards), list(manifest.members))
    first = max((int(Path(shard.file).stem) for shard in manifest.shards), default=-1) + 1
    ShardWriter(bank.path, bank.layout, dtype=manifest.dtype).write(checkpoints, rows, first, progress)
    added = len(rows.members) - len(manifest.members)
    if added and own is not None:
        sources = {member.source for member in rows.members[len(manifest.members) :]}
        _check_rest(bank, own, [c for c in checkpoints if c.source in sources], progress)
    there = len(checkpoints) - added
    already = f"{there} {agreeing(there, 'are')} in the bank already"
    progress.message(f"{counted(added, 'new checkpoint')}, {already}")
    changed = _conditions(rows, added, conditions)
    if not added:
        if changed:
            msgspec.structs.replace(manifest, members=tuple(rows.members)).write(bank.path)
        return
    old = manifest.statistics
    number = int("".join(filter(str.isdigit, old.file)) or 0) + 1
    statistics = write_statistics(bank.path, _STATISTICS.format(number), rows.shards, bank.layout)
    msgspec.structs.replace(
        manifest, shards=tuple(rows.shards), members=tuple(rows.members), statistics=statistics
    ).write(bank.path)
    (bank.path / old.file).unlink(missing_ok=True)


def _conditions(rows: Written, added: int, table: Table | None) -> bool:
    """Write down what a table says of the members, the new ones all; return whether it says anything.

    Raises `InputError` for new members without conditions in a bank whose members have some.
    """
    first = len(rows.members) - added
    if table is None:
        if added and any(member.conditions for member in rows.members[:first]):
            message = "the bank has conditions; say those of the new checkpoints with --conditions"
            raise noted(InputError(message))
        return False
    old = [
        conditioned([member], table)[0] if named(member, table) else member for member in rows.members[:first]
    ]
    rows.members[:] = [*old, *conditioned(rows.members[first:], table)]
    return True


def _tidy(path: Path, bank: Bank) -> None:
    """Remove shards and statistics that the manifest does not name, and what killed processes left."""
    for folder in (path, path / SHARDS):
        _core.remove_stale(folder)
    remove_orphans(path, bank.manifest.shards)
    for orphan in path.glob("stats*.safetensors"):
        if orphan.name != bank.manifest.statistics.file:
            orphan.unlink()


def _check_base(bank: Bank, own: Example, base: Path, request: Request, progress: Progress) -> None:
    """Raise `InputError` if the rest of the checkpoint `base` is not the bank's own."""
    given = open_base(base, request.choice, own)
    if different := compared([own.header.origin, given.header.origin], _rest(bank, own), progress):
        what = f"{shown(min(different))} differs from the bank's"
        raise InputError(f"{base}: {what}; {bank.path / BASE} takes the bank's own")


def _without(opened: Opened, base: Path, kind: str) -> Opened:
    """Return what was opened without the file `base`, which is no member, unless it is of their `kind`."""
    kept = [each for each in opened.checkpoints if each.kind == kind or not is_at(each, base)]
    return replace(opened, checkpoints=kept)


def _fitting(
    bank: Bank, request: Request, opened: Opened, own: Example, *, free: bool, progress: Progress
) -> list[Checkpoint]:
    """Return the checkpoints that can be rows of the bank; raises `InputError` if any cannot."""
    kinds = _kinds(bank, opened, own, free=free, majority=request.majority, progress=progress)
    groups = [group for group in opened.groups() if group.checkpoints[0].kind in kinds]
    kept = {checkpoint.source for group in groups for checkpoint in one_a_step(group, progress)}
    checkpoints = [checkpoint for checkpoint in opened.checkpoints if checkpoint.source in kept]
    for kind in kinds:
        example = opened.examples[kind]
        for note in (*describe(checkpoints, example), *describe_subset(example.header.tensors, bank.layout)):
            progress.message(note)
    check_averaged(checkpoints, request.choice, bank.manifest.source.averaged)
    check_ties(checkpoints, bank.manifest.tied)
    return checkpoints


def _kinds(
    bank: Bank, opened: Opened, own: Example, *, free: bool, majority: bool, progress: Progress
) -> list[str]:
    """Return the kinds of checkpoint that fit the bank; the others are refused, or left out if `majority`."""
    fitting = []
    for group in opened.groups():
        kind, count, example = group.checkpoints[0].kind, len(group.checkpoints), group.example
        if kind == bank.manifest.kind or (free and _holds_rows(bank, example)):
            fitting.append(kind)
            continue
        what = f"{example.candidate.source} {difference(own, example)}: it does not fit {bank.path}"
        if not majority:
            raise noted(InputError(f"{what}; leave it out, or take those that fit with --majority"))
        progress.message(f"{what}; {counted(count, 'such checkpoint')} {agreeing(count, 'are')} left out")
    if not fitting:
        raise InputError(f"no checkpoint fits {bank.path}")
    return fitting


def _holds_rows(bank: Bank, example: Example) -> bool:
    """Return whether a checkpoint has the tensors of a row, with dtype and shape."""
    found = {t.name: (t.dtype, t.shape) for t in example.header.tensors}
    same_adapter = example.candidate.adapter == bank.manifest.source.adapter
    return same_adapter and all(found.get(s.name) == (s.dtype, s.shape) for s in bank.layout.segments)


def _rest(bank: Bank, own: Example) -> list[str]:
    """Return the floating tensors that are not generated."""
    return [t.name for t in floating(own.header.tensors) if t.name not in bank.subset_names]


def _check_rest(bank: Bank, own: Example, new: Sequence[Checkpoint], progress: Progress) -> None:
    """Raise `InputError` if anything that is not generated is not the bank's own.

    Of tensors that cannot be modelled it is only said which differ. The bank's copy has no checksums: so one
    checkpoint is compared with it, and the others with that one.
    """
    rest, others = _rest(bank, own), [t.name for t in carried(own.header.tensors)]
    origins = [checkpoint.origin for checkpoint in new]
    differs = compared([own.header.origin, origins[0]], [*rest, *others], progress)
    differs |= compared(origins, [name for name in [*rest, *others] if name not in differs], progress)
    if different := sorted(differs.intersection(rest)):
        message = (
            f"{some(different, 1)} {agreeing(len(different), 'differ')} from the bank's, and "
            f"{agreeing(len(different), 'are')} not generated; say with "
            f"--base {bank.path / BASE} that the bank's values are to be used"
        )
        raise noted(InputError(message))
    if lost := sorted(differs):
        progress.message(f"taken from the bank, though different in new checkpoints: {some(lost)}")


def _own_base(bank: Bank) -> Example:
    """Return the bank's base as an example of its members."""
    path = bank.path / BASE
    source = bank.manifest.source
    candidate = Candidate(str(path), (path,), source.shape, adapter=source.adapter)
    return Example(candidate, _core.Checkpoint([path]))
