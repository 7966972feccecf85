"""List the files below folders: what each may be by its name, and why it cannot be read, if so."""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pdiff import _core
from pdiff.common.errors import InputError
from pdiff.common.wording import counted, printable

ACCEPTED = ".safetensors, .pt, .pth, .bin, .ckpt"
"""Endings of files that are read, as errors name them."""
ADAPTER_CONFIG = "adapter_config.json"
CONFIG = "config.json"
INDEX = ".index.json"
"""What follows the name of a sharded checkpoint in the name of its index."""
_OURS = (("bank.json",), ("run.json",), ("generated.json",), ("results.json", "report.html"))
"""Files that together mark a folder as pdiff's own; other tools write a `results.json` too."""

DISTRIBUTED = ".distcp"
"""How the files end that torch.distributed.checkpoint writes, each a part of one checkpoint."""

_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pth.tar", ".pt.tar", ".pkl", ".zip")
_BESIDE_WEIGHTS = re.compile(
    r"(optimizer|optim_state|(lr_)?scheduler|(grad_)?scaler|sampler|rng_state|random_states|training_args"
    r"|trainer_state|dl_state_dict|replay_buffer|vec_?normalize)"
    r"|.*[._-](optimizer|optim_states?|scheduler|scaler)\.[^.]+$"
    r"|.*\.tmp($|[._-])"
)
_KERAS = re.compile(r".*\.(keras|weights\.h5)")
_INDEX = re.compile(r".+\.safetensors\.index\.json|(diffusion_)?pytorch_model.*\.bin\.index\.json")
_PIECE = re.compile(r".*-\d{4,6}-of-\d{4,6}\.[a-z]+")

_NOT_FILES = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


class Notes(NamedTuple):
    """What is left aside, as (name, why)."""

    skipped: list[tuple[str, str]]
    refused: list[tuple[str, str]]


class File(NamedTuple):
    """One file, as the file system describes it."""

    path: str
    linked: bool
    """Whether the path is a symbolic link."""
    identity: tuple[int, int]
    """Device and inode."""
    problem: str | None
    """Why it cannot be read, if so."""


@dataclass(frozen=True)
class Listing:
    """The files of one folder, or those of it that were asked for one by one."""

    folder: str
    prefix: str
    """What comes before a name where the file is shown."""
    names: list[str] = field(default_factory=list)
    asked: bool = False
    """Whether its names were asked for one by one, so that they need not end as those of weights do."""

    def path(self, name: str) -> str:
        """Return the path of `name` in the folder."""
        return os.path.join(self.folder, name)

    def source(self, name: str) -> str:
        """Return how `name` is shown."""
        return printable(self.prefix + name)

    def has(self, name: str) -> bool:
        """Return whether the folder has a file `name`, asked for or not."""
        return os.path.exists(self.path(name))


def look_at(path: str) -> File:
    """Return the file at `path`, links followed."""
    try:
        status = os.lstat(path)
        linked = stat.S_ISLNK(status.st_mode)
        if linked:
            status = os.stat(path)
    except FileNotFoundError:
        broken = Path(path).is_symlink()
        return File(path, broken, (0, 0), "a link to nothing" if broken else "no such file")
    except (OSError, ValueError) as error:
        return File(path, False, (0, 0), getattr(error, "strerror", None) or str(error))
    problem = None
    if not stat.S_ISREG(status.st_mode):
        problem = f"{_NOT_FILES.get(stat.S_IFMT(status.st_mode), 'something else')}, not a file"
    elif status.st_size == 0:
        problem = "empty"
    elif not os.access(path, os.R_OK):
        problem = "permission denied"
    return File(path, linked, (status.st_dev, status.st_ino), problem)


def listings(roots: Iterable[Path], notes: Notes) -> Iterator[Listing]:
    """Yield the folders at and below `roots`; roots that are files are listed with their neighbours.

    Raises `InputError` for a root that does not exist.
    """
    loose: dict[str, Listing] = {}
    for root in roots:
        require_there(root)
        if root.is_dir():
            yield from _walk(root, notes)
        else:
            folder = str(root.parent)
            loose.setdefault(folder, Listing(folder, "", asked=True)).names.append(root.name)
    yield from loose.values()


def require_there(root: Path) -> None:
    """Raise `InputError` for a path that does not exist or cannot be looked at."""
    try:
        root.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{printable(str(root))}: no such file or folder") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{printable(str(root))}: cannot be looked at ({reason})") from None


def _walk(root: Path, notes: Notes) -> Iterator[Listing]:
    """Yield every folder at and below `root`, but no hidden one, none that pdiff wrote and none by a link.

    A bank is no checkpoint, and what was generated is not to be learned from, unless it is the root.
    """
    pending = [(str(root), "")]
    while pending:
        folder, prefix = pending.pop()
        listing = Listing(folder, prefix)
        try:
            with os.scandir(folder) as entries:
                inner = [entry.name for entry in entries if _is_folder(entry, listing, notes)]
        except OSError as error:
            name = printable(prefix or str(root))
            notes.refused.append((name, f"the folder cannot be listed ({error.strerror or error})"))
            continue
        yield listing
        pending += [(listing.path(name), f"{prefix}{name}/") for name in sorted(inner, reverse=True)]


def _is_folder(entry: os.DirEntry[str], listing: Listing, notes: Notes) -> bool:
    """Return whether `entry` is a folder to walk; list it if it is a file, note it if it is left aside."""
    name = entry.name
    if not _leads_to_folder(entry):
        if name.startswith("."):
            notes.skipped.append((listing.source(name), "hidden"))
        else:
            listing.names.append(name)
        return False
    shown_name = f"{listing.source(name)}/"
    if name.startswith("."):
        why = "hidden"
    elif entry.is_symlink():
        why = "a link to a folder, which is followed only if it is given itself"
    elif ours := [m for m in _OURS if all(os.path.isfile(f"{entry.path}/{file}") for file in m)]:
        why = f"pdiff's own ({ours[0][0]})"
    else:
        if is_weights(name):
            notes.refused.append((listing.source(name), "a folder, not a file"))
        return True
    notes.skipped.append((shown_name, why))
    return False


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_weights(name: str) -> bool:
    """Return whether a file of this name should hold weights: by its suffix, and no optimiser state."""
    name = name.lower()
    return name.endswith(_SUFFIXES) and not _BESIDE_WEIGHTS.match(name)


def ending(name: str) -> str:
    """Return how the name of a file of weights ends (`.pth.tar`), as it is typed; "" for another name."""
    known = max((each for each in _SUFFIXES if name.lower().endswith(each)), key=len, default="")
    return name[len(name) - len(known) :]


def training_state(folder: Path) -> list[str]:
    """Return the names of the files in a folder that hold the state of a training, and no weights."""
    try:
        names = _core.natural_sort([printable(name) for name in os.listdir(folder)])
    except OSError:
        return []
    return [name for name in names if _BESIDE_WEIGHTS.match(name.lower()) and ".tmp" not in name.lower()]


def foreign(name: str) -> str | None:
    """Return what to do about a file of this name that holds weights in a format that is not read, if so."""
    if not _KERAS.fullmatch(name.lower()):
        return None
    return (
        "a file of Keras, in HDF5, which is not read; with its torch backend, "
        "`torch.save(model.state_dict(), 'model.pt')` writes one that is"
    )


def begins_as_weights(name: str, path: str) -> bool:
    """Return whether a file of any name but that of other state begins as those do that are read."""
    if _BESIDE_WEIGHTS.match(name.lower()) or look_at(path).problem is not None:
        return False
    with open(path, "rb") as file:
        begin = file.read(9)
    return begin.startswith((b"PK\x03\x04", b"\x80")) or begin[8:] == b"{"


def distributed(folder: str | Path) -> str | None:
    """Return what to do about a folder that torch.distributed.checkpoint wrote; None for another one."""
    try:
        parts = sum(name.endswith(DISTRIBUTED) for name in os.listdir(folder))
    except OSError:
        return None
    path = printable(str(folder))
    what = (
        f"a checkpoint of torch.distributed.checkpoint, in {counted(parts, 'part')}; make it one file with "
        f"`python -m torch.distributed.checkpoint.format_utils dcp_to_torch {path} FILE.pt`; or, if you "
        f"trust it, with `pdiff convert {path} --out FILE.safetensors --i-trust-this-file`"
    )
    return what if parts else None


def is_index(name: str) -> bool:
    """Return whether a file of this name says which shards make up one checkpoint."""
    return name.endswith(INDEX) and bool(_INDEX.fullmatch(name))


def is_piece(name: str) -> bool:
    """Return whether a file of this name is one shard of several (`model-00001-of-00002.safetensors`)."""
    return bool(_PIECE.fullmatch(name.lower()))
