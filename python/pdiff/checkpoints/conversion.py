"""Convert checkpoints to safetensors: read them safely if possible, else load each in another process."""

import json
from pathlib import Path
from typing import Literal

import msgspec

from pdiff import _core
from pdiff.checkpoints.find import find_checkpoints
from pdiff.checkpoints.listing import DISTRIBUTED
from pdiff.checkpoints.loading import Loader
from pdiff.checkpoints.opening import open_one
from pdiff.checkpoints.records import Choice, Example, stored_bytes
from pdiff.common.directories import require_space, require_writable, scratch
from pdiff.common.errors import CodeError, InputError, UsageError
from pdiff.common.progress import SILENT, Progress
from pdiff.common.wording import printable

_SUFFIX = ".safetensors"
_TRUST = "--i-trust-this-file"


class Conversion(msgspec.Struct, frozen=True):
    """What was written, and how it was read."""

    out: str
    read: Literal["safely", "by running it"]
    key: str
    tensors: int
    bytes: int


def convert(
    file: str | Path,
    out: str | Path,
    choice: Choice | None = None,
    *,
    trusted: bool = False,
    overwrite: bool = False,
) -> Conversion:
    """Write the weights of the checkpoint `file` to the safetensors file `out`, whole or not at all.

    A file that is plain data is read as everywhere, and runs no code. One that holds code (a whole pickled
    module, TorchScript) is refused with a `UsageError`, unless it is `trusted`: then a process of its own
    loads it, which runs whatever code the file holds. Raises `InputError` for a file that cannot be read
    either way, `UsageError` if the disk has no room.
    """
    with Loader() as loader:
        return _convert(
            Path(file), Path(out), choice or Choice(), loader, trusted=trusted, overwrite=overwrite
        )


def _convert(
    file: Path, out: Path, choice: Choice, loader: Loader, *, trusted: bool, overwrite: bool
) -> Conversion:
    _check(file, out, overwrite)
    _core.remove_stale(out.parent)
    try:
        example = open_one(file, choice)
    except CodeError as error:
        if not trusted:
            why = "; ".join(part for part in str(error).split("; ") if _TRUST not in part)
            raise UsageError(
                f"{why}; {_TRUST} loads it all the same, which runs code from the file"
            ) from None
        return _run(file, out, choice, loader)
    return _write(out, example, _metadata(example), "safely", example.header.key)


def convert_folder(
    folder: str | Path,
    out: str | Path,
    choice: Choice | None = None,
    *,
    trusted: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> list[Conversion]:
    """Write each checkpoint below `folder` as `convert` does, to a file of its name and place below `out`.

    Those that cannot be converted are said and left out. Raises the error of the first if all are, and
    `InputError` if there is none.
    """
    folder, out, choice = Path(folder), Path(out), choice or Choice()
    done: list[Conversion] = []
    failed: list[InputError | UsageError] = []
    places = _places(folder)
    with Loader() as loader, progress.track("Converting", len(places), "checkpoint") as tracker:
        for place, target in places.items():
            try:
                (out / target).parent.mkdir(parents=True, exist_ok=True)
                done.append(
                    _convert(place, out / target, choice, loader, trusted=trusted, overwrite=overwrite)
                )
            except (InputError, UsageError) as error:
                failed.append(error)
                progress.message(f"left out {error}")
            tracker.advance()
    if not done:
        raise failed[0] if failed else InputError(f"{printable(str(folder))}: no checkpoint to convert")
    return done


def _places(folder: Path) -> dict[Path, Path]:
    """Return the file or folder of each checkpoint below `folder`, and its path below the output."""
    parts = {part.parent for part in folder.rglob(f"*{DISTRIBUTED}")}
    candidates = find_checkpoints([folder]).candidates
    found = (each.files[0].parent if each.index else each.files[0] for each in candidates)
    places: dict[Path, Path] = {}
    for place in (*found, *sorted(parts)):
        relative = place.relative_to(folder) if place != folder else Path(place.name)
        whole = relative.with_name(f"{relative.name}{_SUFFIX}")
        short = whole if place.is_dir() else relative.with_suffix(_SUFFIX)
        places[place] = whole if short in places.values() else short
    return places


def _check(file: Path, out: Path, overwrite: bool) -> None:
    """Refuse an output that must not be written, before anything is read."""
    if out.suffix != _SUFFIX:
        raise UsageError(f"{printable(str(out))}: the output is safetensors; name it *{_SUFFIX}")
    if not out.parent.is_dir():
        raise UsageError(f"{printable(str(out))}: no such folder {printable(str(out.parent))}")
    require_writable(out, out.parent)
    if not out.exists():
        return
    if not out.is_file() or (file.exists() and out.samefile(file)):
        raise UsageError(f"{printable(str(out))}: cannot be replaced; name another file with --out")
    if not overwrite:
        raise UsageError(f"{printable(str(out))}: exists; replace it with --overwrite")


def _run(file: Path, out: Path, choice: Choice, loader: Loader) -> Conversion:
    """Let another process load the file, then take over what it wrote as from any other file."""
    with scratch(out) as folder:
        weights = folder / f"weights{_SUFFIX}"
        if why := loader.load(file, weights, choice):
            raise InputError(f"{printable(str(file))}: loading it failed ({why})")
        example = open_one(weights, Choice())
        metadata = _metadata(example)
        key: str = json.loads(metadata.pop("pdiff.key"))
        return _write(out, example, metadata, "by running it", key)


def _metadata(example: Example) -> dict[str, str]:
    """Return the numbers and the free text beside the weights, as text."""
    numbers = {name: repr(value) for name, value in example.header.numbers.items()}
    return {**numbers, **example.header.metadata}


def _write(
    out: Path, example: Example, metadata: dict[str, str], read: Literal["safely", "by running it"], key: str
) -> Conversion:
    tensors = example.header.tensors
    require_space(out, stored_bytes(tensors))
    _core.write_checkpoint(out, example.header.origin, metadata)
    return Conversion(str(out), read, key, len(tensors), out.stat().st_size)
