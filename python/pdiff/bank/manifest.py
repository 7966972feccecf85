"""Read and write `bank.json`, which says what a bank holds; without it, a directory is no bank."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from pdiff import _core
from pdiff.common.directories import require_inside
from pdiff.common.errors import UsageError
from pdiff.common.sealing import unsealed, write_sealed

MANIFEST = "bank.json"
BASE = "base.safetensors"
STATISTICS = "stats.safetensors"
REST = "rest.json"
"""Among the companions: what stands beside the weights in a torch file, as `_core.Checkpoint.rest` has it."""
AGENT = "agent.zip"
"""Among the companions: an agent of Stable-Baselines3 without the policy that is generated."""
METADATA = "metadata.json"
"""Among the companions: the free text in the header of a safetensors file."""
SHARDS = "shards"
SOURCE = "source"
"""Folder of the files that stood beside the source's weights."""
TASK_FILE = "task.json"
"""Beside checkpoints, it says what task they solve."""
ZOO = "zoo.json"
"""Beside checkpoints of `pdiff zoo`, it says how they were made."""
AVERAGE_COUNT = "n_averaged"
"""What torch's `AveragedModel` counts in, beside the network's tensors."""
FORMAT = 4

StoreDtype = Literal["F32", "F16", "BF16"]
"""What a bank stores its numbers as. In half the bytes they are rounded: to 11 or 8 significant bits."""


class TensorEntry(msgspec.Struct, frozen=True):
    """One tensor of a row, in layout order: its name, safetensors dtype and shape in the source."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class FileEntry(msgspec.Struct, frozen=True):
    """A file of the bank: path within it, BLAKE3 of its bytes."""

    file: str
    digest: str


class ShardEntry(msgspec.Struct, frozen=True):
    """One shard file: path within the bank, number of rows, BLAKE3 of the file."""

    file: str
    rows: int
    digest: str


Condition = float | str | list[float]


class Member(msgspec.Struct, frozen=True):
    """One checkpoint of the bank, in row order."""

    source: str
    """Path of the checkpoint, relative to the folder that was collected."""
    digest: str
    """BLAKE3 of the selected tensors' bytes in the source."""
    metrics: dict[str, float] = {}
    """Numbers that the checkpoint's own metadata gave (accuracy, step)."""
    conditions: dict[str, Condition] = {}
    """What a table said of the checkpoint, for generators to condition on."""
    run: int = 0
    """Independent training trajectory that the checkpoint belongs to."""


class TaskRef(msgspec.Struct, frozen=True, rename={"name": "task"}):
    """How to rebuild the task and network that the checkpoints belong to: the content of `task.json`."""

    name: str
    """Built-in name, or `file.py:NAME`."""
    arch: str
    options: dict[str, Any] = {}


class Source(msgspec.Struct, frozen=True):
    """What a checkpoint of the bank is on disk."""

    shape: Literal["file", "folder", "sharded", "adapter"] = "file"
    file: str = ""
    """Name of the weights of a folder or adapter."""
    ending: str = ""
    """How the name of a single file ends; empty where that of the format is taken."""
    format: str = "safetensors"
    """`safetensors`, `torch` or `torch-legacy`."""
    keys: tuple[str, ...] = ()
    """What leads to the weights in the file; the last key may be what names begin with."""
    parts: tuple[tuple[str, ...], ...] = ()
    """Keys of each dictionary that holds weights in a torch file; none for the one that `keys` lead to."""
    places: dict[str, int] = {}
    """Plain name → index of the dictionary that holds the tensor, where it is not the first."""
    averaged: bool = False
    """Whether they are averaged (EMA) weights, by these keys."""
    counted: bool = False
    """Whether torch's `AveragedModel` wrote the file, whose `n_averaged` is beside the network's tensors."""
    names: dict[str, str] = {}
    """Plain name → name in the source, in its dictionary, where they differ."""
    copies: tuple[tuple[str, tuple[str, ...], str], ...] = ()
    """Plain name, dictionary and name in it of what the averages in a torch file are averages of."""
    files: dict[str, str] = {}
    """Of a sharded checkpoint: plain name → file that holds the tensor."""
    adapter: dict[str, Any] = {}
    """Settings that all adapters of the bank share."""
    companions: dict[str, str] = {}
    """Files beside the weights, copied to the bank's folder `source`: name → BLAKE3."""


class Manifest(msgspec.Struct, frozen=True):
    """The content of `bank.json`, which ends with a checksum of itself."""

    format: int
    layout: tuple[TensorEntry, ...]
    fingerprint: str
    dim: int
    dtype: StoreDtype
    """How the shards store the numbers."""
    shards: tuple[ShardEntry, ...]
    base: FileEntry
    statistics: FileEntry
    members: tuple[Member, ...]
    kind: str
    """Names, dtypes and shapes of a whole checkpoint, hashed."""
    source: Source = Source()
    tied: dict[str, str] = {}
    """Names of tensors that are the very same as another: alias → the name that has the values."""
    base_given: bool = False
    """Whether the user said whose values everything outside the rows takes: members may differ in it."""
    task: TaskRef | None = None
    aligned: str = ""
    """How the members were aligned: `weights`, `activations` or `lora`; empty if they were not."""

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
        manifest = unsealed(path, data, Manifest, FORMAT)
        source = manifest.source
        require_inside(path, (entry.file for entry in manifest.files()))
        require_inside(path, (source.file, f"model{source.ending}", *source.files.values()))
        return manifest, _core.digest(data)

    def write(self, bank: Path) -> None:
        """Write `bank.json`, durably."""
        write_sealed(bank / MANIFEST, self)

    def files(self) -> Iterator[FileEntry]:
        """Yield every other file of the bank."""
        yield self.base
        yield self.statistics
        for shard in self.shards:
            yield FileEntry(shard.file, shard.digest)
        for name, digest in self.source.companions.items():
            yield FileEntry(f"{SOURCE}/{name}", digest)
