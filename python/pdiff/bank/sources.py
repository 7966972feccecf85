"""Finding checkpoints: which files of a folder hold weights, and what their headers say."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pdiff import _core
from pdiff._core import TensorInfo
from pdiff.errors import InputError

__all__ = ["FLOATING", "Checkpoint", "Found", "find_checkpoints", "read_checkpoint"]

FLOATING = frozenset({"F64", "F32", "F16", "BF16"})
SAFETENSORS = ".safetensors"
PICKLES = frozenset({".pt", ".pth", ".bin", ".ckpt", ".tar"})

_OURS = ("bank.json", "run.json", "generated.json", "results.json")
"""Files that mark a folder as pdiff's own."""
_NOT_WEIGHTS = re.compile(
    r"(optimizer|scheduler|scaler|rng_state|random_states|training_args|trainer_state)[^/]*$", re.IGNORECASE
)


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint as its header declares it."""

    source: str
    """What to call it: the path relative to the folder given."""
    path: Path
    """The safetensors file that holds its tensors."""
    tensors: tuple[TensorInfo, ...]
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def kind(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
        """Names, dtypes and shapes in order of name: equal for checkpoints of the same network."""
        return tuple(sorted((t.name, t.dtype, t.shape) for t in self.tensors))


@dataclass(frozen=True)
class Found:
    """The files below the paths given, in natural order."""

    files: tuple[tuple[str, Path], ...]
    """(name to show, path) of each file that may hold weights."""
    skipped: tuple[str, ...]
    """Names of files that do not look like weights."""


def find_checkpoints(paths: Iterable[Path]) -> Found:
    """List candidate checkpoint files below `paths` (files or folders), each inode once.

    Raises `InputError` for a path that does not exist.
    """
    found: dict[str, Path] = {}
    skipped: list[str] = []
    seen: set[tuple[int, int]] = set()
    for root in paths:
        if not root.exists():
            raise InputError(f"{root}: no such file or folder")
        for name, path in _walk(root, skipped):
            if not _looks_like_weights(path):
                skipped.append(name)
                continue
            status = path.stat()
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                found[name if name not in found else str(path)] = path
    return Found(tuple((name, found[name]) for name in _core.natural_sort(list(found))), tuple(skipped))


def _walk(root: Path, skipped: list[str]) -> Iterator[tuple[str, Path]]:
    """Yield (relative name, path) of every regular file below `root`.

    Hidden ones are left out, and so are folders that pdiff wrote, whose names go to `skipped`: a bank is no
    checkpoint, and what was generated is not to be learned from unless asked for.
    """
    if root.is_file():
        yield root.name, root
        return
    for folder, folders, files in os.walk(root):
        ours = {name for name in folders if any(Path(folder, name, mark).is_file() for mark in _OURS)}
        skipped.extend(f"{Path(folder, name).relative_to(root)}/" for name in sorted(ours))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in ours)
        for file in files:
            path = Path(folder, file)
            if not file.startswith(".") and path.is_file():
                yield str(path.relative_to(root)), path


def _looks_like_weights(path: Path) -> bool:
    suffix = path.suffix.lower()
    return (suffix == SAFETENSORS or suffix in PICKLES) and not _NOT_WEIGHTS.search(path.name)


def read_checkpoint(source: str, path: Path) -> Checkpoint:
    """Read the header of a safetensors file; raises `InputError` if it is malformed."""
    tensors, metadata = _core.read_header(path)
    return Checkpoint(source, path, tuple(tensors), _numbers(metadata))


def _numbers(metadata: dict[str, str]) -> dict[str, float]:
    """Return the metadata entries that are plain numbers."""
    numbers = {}
    for key, text in metadata.items():
        if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.IGNORECASE):
            numbers[key] = float(text)
    return numbers
