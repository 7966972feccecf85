"""From a folder of checkpoints to a bank: find, plan, validate, then write, manifest last."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from pdiff.artifacts import read_record
from pdiff.bank.bank import Bank
from pdiff.bank.manifest import MANIFEST, TASK_FILE, TaskRef
from pdiff.bank.pickles import restate
from pdiff.bank.selection import Selection, select
from pdiff.bank.sources import SAFETENSORS, Checkpoint, find_checkpoints, read_checkpoint
from pdiff.bank.writer import MINIMUM_MEMBERS, write_bank
from pdiff.directories import staged_directory
from pdiff.errors import InputError
from pdiff.progress import SILENT, Progress

__all__ = ["collect"]


def collect(
    *paths: str | Path,
    out: str | Path = "bank",
    select_globs: Sequence[str] = (),
    exclude_globs: Sequence[str] = (),
    last_norms: int = 0,
    base: str | Path | None = None,
    majority: bool = False,
    strict: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Bank:
    """Collect the checkpoints below `paths` into a bank at `out`, and open it.

    The subset is the floating tensors that differ between the checkpoints, unless `select_globs`,
    `exclude_globs` or `last_norms` say otherwise; `base` names the checkpoint that everything else is
    taken from (by default any, since the rest must be the same in all). Files that cannot be read are
    reported and left out, or refused with `strict`; checkpoints of several kinds are refused, or the
    largest group taken with `majority`. Identical checkpoints count once.

    Raises `InputError` for what the files hold, `UsageError` for what was asked.
    """
    roots = [Path(path) for path in paths]
    selection = Selection(tuple(select_globs), tuple(exclude_globs), last_norms)
    with (
        staged_directory(Path(out), MANIFEST, overwrite) as staged,
        TemporaryDirectory(prefix=".restated-", dir=staged) as scratch,
    ):
        checkpoints = _one_kind(_read(roots, Path(scratch), strict, progress), majority, progress)
        layout = select(checkpoints, selection, check_rest=base is None, progress=progress)
        rest = checkpoints[-1].path if base is None else _base(Path(base), Path(scratch), checkpoints[-1])
        write_bank(staged, layout, checkpoints, base=rest, task=_task(roots), progress=progress)
    return Bank.open(out)


def _read(roots: list[Path], scratch: Path, strict: bool, progress: Progress) -> list[Checkpoint]:
    """Read every header; torch files are restated as safetensors in `scratch` first."""
    found = find_checkpoints(roots)
    if not found.files:
        others = f"; other files: {', '.join(found.skipped[:3])}" if found.skipped else ""
        where = ", ".join(map(str, roots))
        raise InputError(f"{where}: no checkpoints (.safetensors, .pt, .pth, .bin, .ckpt){others}")
    for name in found.skipped:
        if Path(name).suffix != ".json":
            why = "pdiff's own" if name.endswith("/") else "not weights by its name"
            progress.message(f"skipped {name}: {why}")

    def read(numbered: tuple[int, tuple[str, Path]]) -> Checkpoint | InputError:
        number, (name, path) = numbered
        try:
            return _open(name, path, scratch / f"{number:08d}{SAFETENSORS}")
        except InputError as error:
            return error

    checkpoints: list[Checkpoint] = []
    refused: list[InputError] = []
    with ThreadPoolExecutor() as pool, progress.track("Reading headers", len(found.files), "file") as tracker:
        for outcome in pool.map(read, enumerate(found.files)):
            if isinstance(outcome, InputError):
                refused.append(outcome)
            else:
                checkpoints.append(outcome)
            tracker.advance()
    if refused and (strict or not checkpoints):
        raise refused[0]
    for error in refused:
        progress.message(f"left out {error}")
    return checkpoints


def _open(name: str, path: Path, restated: Path) -> Checkpoint:
    """Read the header of `path`; a torch file is restated as the safetensors file `restated` first.

    Raises `InputError` if the file cannot be read; an `OSError` is a failure to write.
    """
    if path.suffix.lower() != SAFETENSORS:
        restate(name, path, restated)
        path = restated
    try:
        return read_checkpoint(name, path)
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error})") from None


def _base(base: Path, scratch: Path, example: Checkpoint) -> Path:
    """Return the safetensors file that holds the checkpoint `base`, which must be of the bank's kind."""
    if not base.is_file():
        raise InputError(f"{base}: no such file (--base)")
    checkpoint = _open(str(base), base, scratch / f"base{SAFETENSORS}")
    if checkpoint.kind != example.kind:
        raise InputError(f"{base} {_difference(example, checkpoint)}; --base must be of the same network")
    return checkpoint.path


def _one_kind(checkpoints: list[Checkpoint], majority: bool, progress: Progress) -> list[Checkpoint]:
    """Return the checkpoints if they are of one network, or the largest group with `majority`."""
    groups = Counter(c.kind for c in checkpoints).most_common()
    if len(groups) > 1:
        kind = groups[0][0]
        odd = next(c for c in checkpoints if c.kind != kind)
        example = next(c for c in checkpoints if c.kind == kind)
        what = (
            f"{len(groups)} kinds of checkpoint: {groups[0][1]} like {example.source}, "
            f"but {odd.source} {_difference(example, odd)}"
        )
        if not majority:
            raise InputError(f"{what}; collect them apart, or take the largest group with --majority")
        progress.message(f"{what}; the largest group is taken")
        checkpoints = [c for c in checkpoints if c.kind == kind]
    if len(checkpoints) < MINIMUM_MEMBERS:
        raise InputError(f"{len(checkpoints)} checkpoints found, at least {MINIMUM_MEMBERS} are needed")
    return checkpoints


def _difference(example: Checkpoint, odd: Checkpoint) -> str:
    """Say in a few words how `odd` differs from `example`."""
    ours = {name: (dtype, shape) for name, dtype, shape in example.kind}
    theirs = {name: (dtype, shape) for name, dtype, shape in odd.kind}
    for name, (dtype, shape) in ours.items():
        if name not in theirs:
            return f"lacks {name}"
        if theirs[name] != (dtype, shape):
            return f"holds {name} as {theirs[name][0]} {list(theirs[name][1])}, not {dtype} {list(shape)}"
    return f"has {next(iter(theirs.keys() - ours.keys()))} besides"


def _task(roots: list[Path]) -> TaskRef | None:
    """Return the task that a `task.json` names: in a folder given or around a file given, or just above."""
    for root in map(Path.resolve, roots):
        folder = root.parent if root.is_file() else root
        for place in (folder, folder.parent):
            if (place / TASK_FILE).is_file():
                return read_record(place / TASK_FILE, TaskRef)
    return None
