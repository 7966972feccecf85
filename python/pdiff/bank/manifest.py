"""`bank.json`: what a bank holds, written last, so that a bank without it is not a bank."""

from pathlib import Path
from typing import Any

import msgspec

from pdiff import _core
from pdiff.errors import InputError, UsageError

__all__ = [
    "BASE",
    "FORMAT",
    "MANIFEST",
    "STATISTICS",
    "TASK_FILE",
    "Manifest",
    "Member",
    "ShardEntry",
    "TaskRef",
    "TensorEntry",
]

MANIFEST = "bank.json"
BASE = "base.safetensors"
STATISTICS = "stats.safetensors"
TASK_FILE = "task.json"
"""Beside checkpoints, it says what task they solve."""
FORMAT = 1


class TensorEntry(msgspec.Struct, frozen=True):
    """One tensor of a row, in layout order: its name, safetensors dtype and shape in the source."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class ShardEntry(msgspec.Struct, frozen=True):
    """One shard file: path within the bank, number of rows, BLAKE3 of the file."""

    file: str
    rows: int
    digest: str


class Member(msgspec.Struct, frozen=True):
    """One checkpoint of the bank, in row order."""

    source: str
    """Path of the checkpoint, relative to the folder that was collected."""
    digest: str
    """BLAKE3 of the selected tensors' bytes in the source."""
    metrics: dict[str, float] = {}
    """Numbers that the checkpoint's own metadata gave (accuracy, step)."""
    run: int = 0
    """Independent training trajectory that the checkpoint belongs to."""


class TaskRef(msgspec.Struct, frozen=True, rename={"name": "task"}):
    """How to rebuild the task and network that the checkpoints belong to: the content of `task.json`."""

    name: str
    """Built-in name, or `file.py:factory`."""
    arch: str
    options: dict[str, Any] = {}


class Manifest(msgspec.Struct, frozen=True):
    """The content of `bank.json`."""

    format: int
    layout: tuple[TensorEntry, ...]
    fingerprint: str
    dim: int
    shards: tuple[ShardEntry, ...]
    base_digest: str
    statistics_digest: str
    members: tuple[Member, ...]
    task: TaskRef | None = None

    @staticmethod
    def read(bank: Path) -> tuple["Manifest", str]:
        """Return the manifest of the bank at `bank` and its digest.

        Raises `UsageError` if there is no bank, `InputError` if the manifest is damaged or of another format.
        """
        path = bank / MANIFEST
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"{bank}: no bank here (no {MANIFEST}); make one with `pdiff collect`") from None
        try:
            manifest = msgspec.json.decode(data, type=Manifest)
        except msgspec.DecodeError as error:
            raise InputError(f"{path}: damaged manifest ({error})") from None
        if manifest.format != FORMAT:
            raise InputError(f"{path}: format {manifest.format}, this version reads {FORMAT}")
        return manifest, _core.digest(data)

    def write(self, bank: Path) -> None:
        """Write `bank.json`, durably."""
        _core.write_file(bank / MANIFEST, msgspec.json.format(msgspec.json.encode(self), indent=1))
