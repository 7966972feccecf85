"""What `pdiff` leaves on disk: files written durably, directories that are whole or absent."""

import fcntl
import glob
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from pdiff import _core
from pdiff.errors import InputError, UsageError

__all__ = [
    "prepare_directory",
    "provenance",
    "read_record",
    "read_tensors",
    "refuse_directory",
    "relative",
    "staged_directory",
    "write_json",
    "write_tensors",
]

Record = TypeVar("Record")

_LOCK = ".lock"


def write_json(path: Path, value: Any) -> None:
    """Write `value`, plain or a struct, as indented JSON, durably; `ValueError` for NaN and infinities."""
    text = json.dumps(msgspec.to_builtins(value), indent=1, ensure_ascii=False, allow_nan=False)
    _core.write_file(path, (text + "\n").encode())


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read a JSON file as `kind`; raises `InputError` naming the place if it is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: damaged ({error})") from None


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors (moved to the CPU, made contiguous) as one safetensors file, durably."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    _core.write_file(path, _in_order(safetensors.torch.save(plain, dict(metadata) if metadata else None)))


def _in_order(data: bytes) -> bytes:
    """Return a safetensors file with its metadata sorted: the library writes them in a random order.

    The same tensors and metadata then give the same bytes, and the same digest.
    """
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a whole safetensors file that `pdiff` wrote."""
    _core.read_header(path)
    return safetensors.torch.load_file(path)


def _refusal(out: Path, marker: str, overwrite: bool, hint: str) -> str | None:
    """Return why `out` must not be written to, or None."""
    if not out.exists():
        return None
    if not out.is_dir():
        return f"{out}: exists and is not a directory; name another with --out"
    if not any(out.iterdir()):
        return None
    if not overwrite:
        return f"{out}: not empty; {hint}, or name another with --out"
    if not (out / marker).is_file():
        return f"{out}: holds no {marker}, so --overwrite will not replace it; name another with --out"
    return None


def refuse_directory(out: Path, marker: str, overwrite: bool = False) -> None:
    """Raise the `UsageError` that `staged_directory` would: before long work, not after it."""
    if (reason := _refusal(out, marker, overwrite, "replace it with --overwrite")) is not None:
        raise UsageError(reason)


@contextmanager
def staged_directory(out: Path, marker: str, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary sibling of `out`, which becomes `out` if the block succeeds and vanishes if not.

    Raises `UsageError` if `out` is not empty, unless `overwrite` is set and `out` holds the file `marker`
    that says it is ours to replace. What killed processes left is removed first.
    """
    refuse_directory(out, marker, overwrite)
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    for stale in out.parent.glob(f".{glob.escape(out.name)}.staged-*"):
        _remove_stale(stale)
    staged = Path(tempfile.mkdtemp(prefix=f".{out.name}.staged-", dir=out.parent))
    staged.chmod(0o777 & ~_umask())
    try:
        with (staged / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield staged
            (staged / _LOCK).unlink()
            _replace(out, staged)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


def _remove_stale(staged: Path) -> None:
    """Remove a staging directory, unless the process that holds its lock still lives."""
    try:
        with (staged / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(staged, ignore_errors=True)
    except OSError:
        return


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _replace(out: Path, staged: Path) -> None:
    """Put `staged` in the place of `out`, which may exist; if that fails, `out` is what it was."""
    retired = staged.with_name(staged.name.replace(".staged-", ".retired-"))
    replaced = out.exists()
    if replaced:
        out.rename(retired)
    try:
        staged.rename(out)
    except BaseException:
        if replaced:
            retired.rename(out)
        raise
    if replaced:
        shutil.rmtree(retired, ignore_errors=True)
    descriptor = os.open(out.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def prepare_directory(out: Path, marker: str, *, resume: bool | None = None, overwrite: bool = False) -> None:
    """Make `out` ready to be written in place.

    An empty or absent directory is created; one that is not empty is kept with `resume` (None where there
    is no such thing), emptied with `overwrite` (if it holds the file `marker`), and refused with a
    `UsageError` otherwise.
    """
    if resume and overwrite:
        raise UsageError("--resume goes on with what --overwrite would replace; choose one")
    keep = resume and (out / marker).is_file()
    hint = "replace it with --overwrite" if resume is None else "use --resume or --overwrite"
    if not keep and (reason := _refusal(out, marker, overwrite, hint)) is not None:
        raise UsageError(reason)
    if overwrite and out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)


def relative(target: Path, folder: Path) -> str:
    """Return `target` relative to `folder`, so that both can be moved together."""
    return os.path.relpath(target.resolve(), folder.resolve())


def provenance(device: torch.device | None = None) -> dict[str, Any]:
    """Return what a reader needs to repeat a result: versions, platform, threads, date (UTC), device used."""
    return {
        "pdiff": _core.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device and device.type == "cuda" else "cpu",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
