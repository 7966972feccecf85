"""Check whether this machine and installation are fit for `pdiff`: one check a line."""

import importlib
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec

from pdiff import _core
from pdiff.common.directories import process_umask

_DISTRIBUTION = "pdiff-nn"
_TORCH_FLOOR = (2, 10)
_WITHOUT_TORCH = "inspect, collect, average without a task, export, verify and convert"
_GIB = 2**30
_FREE_GIB = 1
_OPEN_FILES = 256
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs"}
)

Status = Literal["ok", "warn", "fail"]
Finding = tuple[Status, str]


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    status: Status
    detail: str


def diagnose(folder: Path) -> list[Check]:
    """Check the installation, the machine, and `folder` as the place to work in.

    A small file is written to `folder` and removed again.
    """
    found = ((name, look(folder)) for name, look in _CHECKS.items())
    return [Check(name, *finding) for name, finding in found if finding is not None]


def _ourselves(_: Path) -> Finding:
    try:
        version = metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "warn", f"core {_core.__version__}, not installed as {_DISTRIBUTION}"
    detail = f"{version}, core {_core.__version__}, {Path(__file__).parent}"
    if version != _core.__version__:
        return "fail", f"{detail}: build them again together"
    return "ok", detail


def _shadows(_: Path) -> Finding:
    """Look for the other tool of the same name, whose files would be in our place."""
    others = {name for name in metadata.packages_distributions().get("pdiff", ()) if name != _DISTRIBUTION}
    with suppress(metadata.PackageNotFoundError):
        others.add(metadata.distribution("pdiff").name)
    if not others:
        return "ok", f"`pdiff` is {_DISTRIBUTION}'s alone"
    cure = f"uninstall it, then install {_DISTRIBUTION} again"
    return "fail", f"{', '.join(sorted(others))} takes our place; {cure}"


def _command(_: Path) -> Finding:
    """Judge which `pdiff` the shell finds: it should be the one beside this Python."""
    found, beside = shutil.which("pdiff"), Path(sys.executable).parent
    if found is None:
        return "warn", "`pdiff` is not on the PATH; `python -m pdiff` works"
    if Path(found).parent.absolute() == beside.absolute():
        return "ok", found
    return "warn", f"`pdiff` is {found}, not the one in {beside}"


def _python(_: Path) -> Finding:
    version = f"{platform.python_version()}, {platform.platform()}"
    return "ok" if sys.version_info >= (3, 11) else "fail", version


def _torch(_: Path) -> Finding:
    try:
        version = str(importlib.import_module("torch").__version__)
    except ModuleNotFoundError:
        return "warn", f"not installed; all but {_WITHOUT_TORCH} need it: pip install 'pdiff-nn[torch]'"
    except Exception as error:  # a broken installation raises anything
        return "fail", f"cannot be imported ({_one_line(error)})"
    major, minor, *_rest = (*version.split("."), "0")
    if major.isdigit() and minor.isdigit() and (int(major), int(minor)) < _TORCH_FLOOR:
        return "fail", f"{version}; {'.'.join(map(str, _TORCH_FLOOR))} or newer is needed"
    return "ok", version


def _gpu(_: Path) -> Finding | None:
    try:
        torch = importlib.import_module("torch")
    except Exception:  # which `_torch` tells of
        return None
    try:
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    except Exception as error:  # drivers fail in their own ways
        return "warn", f"cannot be used ({_one_line(error)})"
    return "ok", f"{', '.join(names)} (CUDA {torch.version.cuda})" if names else "none: CPU"


def _library(name: str) -> Finding:
    try:
        return "ok", metadata.version(name)
    except metadata.PackageNotFoundError:
        return "fail", "not installed"


def _processors(_: Path) -> Finding:
    asked, usable = os.environ.get("OMP_NUM_THREADS"), os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # Linux
        usable = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    detail = f"{usable} of {os.cpu_count()} usable, load {load:.1f}"
    detail += f", OMP_NUM_THREADS={asked}" if asked else ""
    if load > usable / 2 and usable > 1 and not asked:
        return "warn", f"{detail}; other processes compute too: large networks may be faster with --threads 1"
    return "ok", detail


def _limits(_: Path) -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    shown = ["unlimited" if limit == resource.RLIM_INFINITY else f"{limit:,}" for limit in (soft, hard)]
    detail = f"{shown[0]} (at most {shown[1]})"
    if soft != resource.RLIM_INFINITY and soft < _OPEN_FILES:
        return "warn", f"{detail}; raise it with `ulimit -n`"
    return "ok", detail


def _space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / _GIB
    return "ok" if free >= _FREE_GIB else "warn", f"{free:,.1f} GiB free in {folder.absolute()}"


def _file_system(folder: Path) -> Finding | None:
    try:
        kind = _mounted(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"), folder.resolve())
    except OSError:
        return None  # no Linux
    if kind in _NETWORK or kind.startswith("fuse"):
        return "warn", f"{kind}, a network or user-space file system: renames may not be durable there"
    return "ok", kind


def _mounted(mounts: str, folder: Path) -> str:
    """Return the type of the file system that `folder` is on, by the lines of `mountinfo`."""
    best, kind = Path("/"), "unknown"
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        point = Path(fields.split()[4].encode("utf-8", "surrogateescape").decode("unicode_escape"))
        if folder.is_relative_to(point) and len(point.parts) >= len(best.parts):  # a later mount hides it
            best, kind = point, rest.split()[0]
    return kind


def _writing(folder: Path) -> Finding:
    probe = folder / f".pdiff-doctor-{os.getpid()}"
    begin = time.monotonic()
    try:
        _core.write_file(probe, b"probe")
        intact = probe.read_bytes() == b"probe"
    except OSError as error:
        return "fail", f"{folder.absolute()}: {error.strerror or error}"
    finally:
        with suppress(OSError):
            probe.unlink()
    took = 1000 * (time.monotonic() - begin)
    detail = f"write, fsync and rename in {took:,.1f} ms, umask {process_umask():03o}"
    return ("ok", detail) if intact else ("fail", "what was written reads otherwise")


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


_CHECKS: Mapping[str, Callable[[Path], Finding | None]] = {
    "pdiff": _ourselves,
    "import": _shadows,
    "command": _command,
    "python": _python,
    "torch": _torch,
    "gpu": _gpu,
    "numpy": lambda _: _library("numpy"),
    "processors": _processors,
    "open files": _limits,
    "disk here": _space,
    "disk temp": lambda _: _space(Path(tempfile.gettempdir())),
    "file system": _file_system,
    "writing": _writing,
}
