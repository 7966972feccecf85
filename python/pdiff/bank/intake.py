"""Collect checkpoints into a bank: find, plan and validate them, then write, manifest last."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from pdiff import _core
from pdiff.bank.bank import Bank
from pdiff.bank.base import open_base
from pdiff.bank.extend import extend_bank
from pdiff.bank.manifest import MANIFEST, SHARDS, TASK_FILE, StoreDtype, TaskRef
from pdiff.bank.reading import Request, not_finite, one_group, open_all
from pdiff.bank.safety import doubts
from pdiff.bank.selection import Selection, describe_subset, select
from pdiff.bank.shards import JOURNAL, Journal, Purpose, ShardWriter, Written, remove_orphans
from pdiff.bank.tables import read_table, shared_rows
from pdiff.bank.writer import MINIMUM_MEMBERS, Plan, finish_bank, rows_bytes
from pdiff.checkpoints.parts import whole_beside
from pdiff.checkpoints.records import Choice, stored_bytes
from pdiff.common.artifacts import read_record
from pdiff.common.directories import require_space, staged_directory
from pdiff.common.errors import InputError, UsageError, noted
from pdiff.common.progress import AnyProgress, Progress, Wordless, as_progress
from pdiff.common.wording import agreeing, counted


def collect(
    *paths: str | Path,
    out: str | Path = "bank",
    select_globs: Sequence[str] = (),
    exclude_globs: Sequence[str] = (),
    last_norms: int = 0,
    base: str | Path | None = None,
    key: str | None = None,
    ema: bool | None = None,
    store_dtype: StoreDtype = "F32",
    majority: bool = False,
    strict: bool = False,
    skip_nonfinite: bool = False,
    conditions: str | Path | None = None,
    extend: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    warn: bool = True,
    progress: AnyProgress = None,
) -> Bank:
    """Collect the checkpoints below `paths` into a bank at `out`, and open it.

    The subset is the floating tensors that differ between the checkpoints, unless `select_globs`,
    `exclude_globs` or `last_norms` say otherwise; `base` names the checkpoint that everything else is
    taken from (by default any, since the rest must be the same in all; where all but one file hold a part of
    the network that this one holds, that one). Of a training checkpoint that nests
    several sets of weights, `key` names the one wanted; `ema` says that it must be, or must not be, averaged
    weights. Files that cannot be read are reported and left out, or refused with `strict`; checkpoints of
    several kinds are refused, or the largest group taken with `majority`. Identical checkpoints count once.
    A checkpoint whose row would hold NaN or infinity is refused; with `skip_nonfinite` it is left out, as if
    it were not there, for which every row is read twice.

    `conditions` is a table (`pdiff.bank.tables`) of what is known of each checkpoint, kept in the bank
    for generators that condition on it.

    Rows are stored as `store_dtype`: half the bytes, rounded, with F16 or BF16.

    `extend` adds the checkpoints to the bank that is at `out`, whose subset stays as it is. If collecting is
    interrupted, or killed, `resume` goes on after the last finished shard; the bank is the same, byte for
    byte. A disk that fails, or fills up meanwhile, leaves nothing to go on with. Memory does not grow with
    the number of checkpoints, but for two kilobytes each. What speaks against learning from the bank is said,
    but for `warn=False`.

    Raises `InputError` for what the files hold, `UsageError` for what was asked.
    """
    progress = as_progress(progress)
    table = None if conditions is None else read_table(Path(conditions))
    request = Request(tuple(map(Path, paths)), Choice(key, ema), majority, strict, conditions=table)
    selection = Selection(tuple(select_globs), tuple(exclude_globs), last_norms)
    out, rest = Path(out), None if base is None else Path(base)
    for root in request.roots:
        if (root / MANIFEST).is_file():
            raise UsageError(f"{root}: is a bank; give the folder of checkpoints that it was collected from")
    if resume and not (overwrite or extend) and (out / MANIFEST).is_file():
        hint = "replace it with --overwrite, or add to it with --extend"
        raise UsageError(f"{out}: is finished, there is nothing to go on with; {hint}")
    if not extend:
        with staged_directory(out, MANIFEST, overwrite, journal=JOURNAL, resume=resume) as staged:
            if resume and not (staged / JOURNAL).exists():
                progress.message(f"{out}: nothing to resume, collecting from the beginning")
            if skip_nonfinite:
                quiet = Wordless(progress)
                draft = _plan(request, selection, rest, store_dtype, quiet, out=out, check_rest=False)
                bad = not_finite(draft.group.checkpoints, draft.layout, progress)
                request = replace(request, without=bad)
            plan = _plan(request, selection, rest, store_dtype, progress, out=out, check_rest=True)
            plan = replace(plan, conditions=table)
            _write(staged, plan, out, progress)
    elif selection != Selection() or store_dtype != "F32" or resume or overwrite:
        raise UsageError(
            "--extend keeps the bank's selection and type, and goes without --select, --exclude, "
            "--last-norms, --store-dtype, --resume and --overwrite"
        )
    else:
        extend_bank(out, request, rest, progress, skip_nonfinite=skip_nonfinite)
    bank = Bank.open(out)
    if table is not None and (note := shared_rows(bank.members, table)):
        progress.message(note)
    for doubt in doubts(bank) if warn else ():
        progress.message(doubt)
    return bank


def _plan(
    request: Request,
    selection: Selection,
    base: Path | None,
    dtype: StoreDtype,
    progress: Progress,
    *,
    out: Path,
    check_rest: bool,
) -> Plan:
    """Read what there is and decide what the rows are; raises for what cannot become a bank.

    Without a base, one file that holds the whole network of which the others are a part is the base.
    """
    opened = open_all(request, progress)
    untold = None if base is not None or request.majority else whole_beside(opened)
    base = base or untold
    group = one_group(opened, request, progress, base)
    if len(group.checkpoints) < MINIMUM_MEMBERS:
        found = counted(len(group.checkpoints), "checkpoint")
        raise InputError(f"{found} found, at least {MINIMUM_MEMBERS} are needed")
    example, rest, tensors = group.example, group.checkpoints[-1].origin, group.example.header.tensors
    if base is not None:
        given = open_base(base, request.choice, example)
        rest = given.header.origin
        if given.header.kind != example.header.kind:
            example = given
            if not selection.explicit:  # the members are the selection
                selection = msgspec.structs.replace(selection, include=("*",))
            whole, part = len(given.header.tensors), counted(len(tensors), "tensor")
            taken = ", and is taken as the base (another: --base; none: --majority)" if untold else ""
            progress.message(
                f"{base} is the whole network, {whole:,} tensors{taken}; the checkpoints hold {part} of it"
            )
    require_space(out, stored_bytes(example.header.tensors))  # of the base: before all are compared
    check_rest = check_rest and base is None
    layout, lost = select(group.checkpoints, tensors, selection, check_rest=check_rest, progress=progress)
    for note in describe_subset(tensors, layout, lost):
        progress.message(note)
    purpose = Purpose(layout.fingerprint, selection, dtype)
    return Plan(group, layout, purpose, example, rest, base is not None, find_task(request.roots))


def _write(staged: Path, plan: Plan, out: Path, progress: Progress) -> None:
    """Write the bank that is to be `out`, or go on with writing it, in `staged`."""
    checkpoints, dtype = plan.group.checkpoints, plan.purpose.dtype
    journal = Journal(staged, plan.purpose)
    _keep_shards(staged)
    there = sum(path.stat().st_size for path in (staged / SHARDS).iterdir())
    size = rows_bytes(len(checkpoints), plan.layout, dtype) + stored_bytes(plan.example.header.tensors)
    require_space(out, size - there)
    rows = Written()
    try:
        ShardWriter(staged, plan.layout, journal, dtype=dtype).write(checkpoints, rows, 0, progress)
        if twice := len(checkpoints) - len(rows.members):
            same = f"{counted(twice, 'checkpoint')} {agreeing(twice, 'are')} identical to others"
            progress.message(f"{same}, and identical checkpoints count once")
        remove_orphans(staged, rows.shards)
        finish_bank(staged, plan, rows)
    except KeyboardInterrupt as error:
        if not journal.checkpoints:
            raise
        what = f"{journal.checkpoints:,} of {len(checkpoints):,} rows are written; go on with --resume"
        raise noted(type(error)(f"interrupted: {what}")) from None


def _keep_shards(staged: Path) -> None:
    """Remove what an interrupted process left in `staged`, but for shards and what tells of them."""
    (staged / SHARDS).mkdir(exist_ok=True)
    _core.remove_stale(staged / SHARDS)
    for path in staged.iterdir():
        if path.is_dir() and path.name != SHARDS:
            shutil.rmtree(path)
        elif path.is_file() and path.name != JOURNAL:
            path.unlink()


def find_task(roots: Sequence[Path]) -> TaskRef | None:
    """Return the task that a `task.json` names: in a folder given or around a file given, or just above."""
    for root in map(Path.resolve, roots):
        folder = root.parent if root.is_file() else root
        for place in (folder, folder.parent):
            if (place / TASK_FILE).is_file():
                return read_record(place / TASK_FILE, TaskRef)
    return None
