"""Whether this machine and installation are fit for `pdiff`: one check a line."""

import importlib
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import msgspec

from pdiff import _core
from pdiff.common.directories import process_umask

__all__ = ["Check", "diagnose"]

_DISTRIBUTION = "pdiff-nn"
_TORCH_FLOOR = (2, 10)
_GIB = 2**30
_FREE_GIB = 1
_OPEN_FILES = 256
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs"}
)

Status = Literal["ok", "warn", "fail"]


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    status: Status
    detail: str


def diagnose(folder: Path) -> list[Check]:
    """Check the installation, the machine, and `folder` as the place to work in.

    A small file is written to `folder` and removed again.
    """
    checks: list[Callable[[], Iterator[Check]]] = [
        _ourselves,
        _shadows,
        _python,
        _torch,
        lambda: _library("numpy"),
        lambda: _library("safetensors"),
        _processors,
        _limits,
        lambda: _space(folder),
        lambda: _file_system(folder),
        lambda: _writing(folder),
    ]
    return [result for check in checks for result in check()]


def _ourselves() -> Iterator[Check]:
    try:
        version = metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        yield Check("pdiff", "warn", f"core {_core.__version__}, not installed as {_DISTRIBUTION}")
        return
    same = version == _core.__version__
    detail = f"{version}, core {_core.__version__}, {Path(__file__).parent}"
    yield Check("pdiff", "ok" if same else "fail", detail if same else f"{detail}: build them again together")


def _shadows() -> Iterator[Check]:
    """Look for the other tool of the same name, whose files would be in our place."""
    others = {name for name in metadata.packages_distributions().get("pdiff", ()) if name != _DISTRIBUTION}
    with suppress(metadata.PackageNotFoundError):
        others.add(metadata.distribution("pdiff").name)
    if others:
        detail = (
            f"{', '.join(sorted(others))} takes our place; uninstall it, then install {_DISTRIBUTION} again"
        )
        yield Check("import", "fail", detail)
    else:
        yield Check("import", "ok", f"`pdiff` is {_DISTRIBUTION}'s alone")
    yield _command(shutil.which("pdiff"))


def _command(found: str | None) -> Check:
    """Judge which `pdiff` the shell finds: it should be the one beside this Python."""
    if found is None:
        return Check("command", "warn", "`pdiff` is not on the PATH; `python -m pdiff` works")
    beside = Path(sys.executable).parent
    if Path(found).parent.absolute() == beside.absolute():
        return Check("command", "ok", found)
    return Check("command", "warn", f"`pdiff` is {found}, not the one in {beside}")


def _python() -> Iterator[Check]:
    status: Status = "ok" if sys.version_info >= (3, 11) else "fail"
    yield Check("python", status, f"{platform.python_version()}, {platform.platform()}")


def _torch() -> Iterator[Check]:
    try:
        torch = importlib.import_module("torch")
    except Exception as error:  # a broken installation raises anything
        yield Check("torch", "fail", f"cannot be imported ({_one_line(error)})")
        return
    version = str(torch.__version__)
    yield Check("torch", *_judge_torch(version))
    yield _gpu(torch)


def _judge_torch(version: str) -> tuple[Status, str]:
    major, minor, *_ = (*version.split("."), "0")
    if major.isdigit() and minor.isdigit() and (int(major), int(minor)) < _TORCH_FLOOR:
        return "fail", f"{version}; {'.'.join(map(str, _TORCH_FLOOR))} or newer is needed"
    return "ok", version


def _gpu(torch: Any) -> Check:
    try:
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    except Exception as error:  # drivers fail in their own ways
        return Check("gpu", "warn", f"cannot be used ({_one_line(error)})")
    return Check("gpu", "ok", f"{', '.join(names)} (CUDA {torch.version.cuda})" if names else "none: CPU")


def _library(name: str) -> Iterator[Check]:
    try:
        yield Check(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        yield Check(name, "fail", "not installed")


def _processors() -> Iterator[Check]:
    usable = len(os.sched_getaffinity(0))
    asked = os.environ.get("OMP_NUM_THREADS")
    detail = f"{usable} of {os.cpu_count()} usable"
    yield Check("processors", "ok", f"{detail}, OMP_NUM_THREADS={asked}" if asked else detail)


def _limits() -> Iterator[Check]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = soft != resource.RLIM_INFINITY and soft < _OPEN_FILES
    shown = ["unlimited" if limit == resource.RLIM_INFINITY else f"{limit:,}" for limit in (soft, hard)]
    detail = f"{shown[0]} (at most {shown[1]})"
    yield Check(
        "open files", "warn" if few else "ok", f"{detail}; raise it with `ulimit -n`" if few else detail
    )


def _space(folder: Path) -> Iterator[Check]:
    for name, place in (("disk here", folder), ("disk temp", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free / _GIB
        detail = f"{free:,.1f} GiB free in {place.absolute()}"
        yield Check(name, "ok" if free >= _FREE_GIB else "warn", detail)


def _file_system(folder: Path) -> Iterator[Check]:
    try:
        kind = _mounted(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"), folder.resolve())
    except OSError:
        return  # no Linux
    network = kind in _NETWORK or kind.startswith("fuse")
    detail = f"{kind}, a network or user-space file system: renames may not be durable there"
    yield Check("file system", "warn" if network else "ok", detail if network else kind)


def _mounted(mounts: str, folder: Path) -> str:
    """Return the type of the file system that `folder` is on, by the lines of `mountinfo`."""
    best, kind = Path("/"), "unknown"
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        point = Path(fields.split()[4].encode("utf-8", "surrogateescape").decode("unicode_escape"))
        if folder.is_relative_to(point) and len(point.parts) >= len(best.parts):  # a later mount hides it
            best, kind = point, rest.split()[0]
    return kind


def _writing(folder: Path) -> Iterator[Check]:
    probe = folder / f".pdiff-doctor-{os.getpid()}"
    begin = time.monotonic()
    try:
        _core.write_file(probe, b"probe")
        intact = probe.read_bytes() == b"probe"
    except OSError as error:
        yield Check("writing", "fail", f"{folder.absolute()}: {error.strerror or error}")
        return
    finally:
        with suppress(OSError):
            probe.unlink()
    took = 1000 * (time.monotonic() - begin)
    detail = f"write, fsync and rename in {took:,.1f} ms, umask {process_umask():03o}"
    yield Check(
        "writing", "ok" if intact else "fail", detail if intact else "what was written reads otherwise"
    )


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
