"""Reading a bank: row views, normalised batches, and the way back from a row to a checkpoint."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pdiff import _core
from pdiff._core import Layout, Normalizer
from pdiff.artifacts import read_tensors
from pdiff.bank.manifest import BASE, STATISTICS, Manifest, Member, TaskRef
from pdiff.errors import InputError

__all__ = ["Bank", "Normalization", "Normalizer", "flatten", "restore"]

Normalization = Literal["tensor", "element", "none"]

_TORCH_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


class Bank:
    """K checkpoints of one network as rows of D numbers, memory-mapped from a directory.

    `len(bank)` is K, `bank.dim` is D. Rows hold the raw values in float32; a `Normalizer` turns them into
    training data while they are gathered.
    """

    def __init__(self, path: Path, manifest: Manifest, digest: str) -> None:
        self.path = path
        self.manifest = manifest
        self.digest = digest
        """BLAKE3 of the manifest, which holds the digests of every other file."""
        self.layout = Layout([(t.name, t.dtype, t.shape) for t in manifest.layout])
        if self.layout.fingerprint != manifest.fingerprint or self.layout.dim != manifest.dim:
            raise InputError(f"{path}: the layout in the manifest does not match its fingerprint")
        self._shards = [_core.Shard(path / shard.file) for shard in manifest.shards]
        for entry, shard in zip(manifest.shards, self._shards, strict=True):
            if (shard.rows, shard.dim) != (entry.rows, self.dim):
                raise InputError(
                    f"{path / entry.file}: {shard.rows}×{shard.dim}, "
                    f"the manifest says {entry.rows}×{self.dim}"
                )
        if sum(shard.rows for shard in self._shards) != len(manifest.members):
            raise InputError(
                f"{path}: {len(manifest.members)} members, but the shards hold another number of rows"
            )
        self._starts = np.cumsum([0, *(shard.rows for shard in self._shards)])

    @staticmethod
    def open(path: str | Path) -> "Bank":
        """Open the bank in directory `path`; `UsageError` if there is none, `InputError` if damaged."""
        path = Path(path)
        return Bank(path, *Manifest.read(path))

    def __len__(self) -> int:
        return len(self.manifest.members)

    @property
    def dim(self) -> int:
        """D, the numbers in a row."""
        return self.layout.dim

    @property
    def members(self) -> Sequence[Member]:
        """The K checkpoints, in row order."""
        return self.manifest.members

    @property
    def task(self) -> TaskRef | None:
        """The task that the checkpoints solve, if the folder said so."""
        return self.manifest.task

    def row(self, index: int) -> npt.NDArray[np.float32]:
        """Return row `index` [D] as a read-only view of the memory map: no copy."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a bank of {len(self)}")
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        row: npt.NDArray[np.float32] = np.asarray(self._shards[shard])[index - int(self._starts[shard])]
        return row

    def batch(
        self,
        indices: Sequence[int] | npt.NDArray[np.int64],
        normalizer: Normalizer | None = None,
        *,
        columns: tuple[int, int] | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Gather rows, normalised, in one pass: → float32 [B, D], or [B, end − begin] with `columns`.

        `out`, a contiguous CPU tensor of that shape, is filled and returned when given.
        """
        begin, end = columns or (0, self.dim)
        index = np.ascontiguousarray(indices, dtype=np.int64)
        if out is None:
            out = torch.empty(len(index), end - begin)
        _core.gather(self._shards, index, out.numpy(), normalizer or self.normalizer("none"), begin, end)
        return out

    def normalizer(self, kind: Normalization) -> Normalizer:
        """Return the bank's normaliser: one mean and std a tensor (the paper), one an element, or none."""
        if kind == "none":
            return Normalizer.identity(self.layout)
        mean, std = (self.statistics[f"{kind}_{name}"].numpy() for name in ("mean", "std"))
        return Normalizer.from_statistics(self.layout, kind, mean, std, self.statistics["log_scale"].numpy())

    @cached_property
    def statistics(self) -> dict[str, Tensor]:
        """Float64 statistics over all rows: `tensor_mean`, `tensor_std`, `log_scale` [T], `element_*` [D]."""
        return self._verified(STATISTICS, self.manifest.statistics_digest)

    @cached_property
    def base(self) -> dict[str, Tensor]:
        """One complete checkpoint: everything that is not generated is taken from it."""
        return self._verified(BASE, self.manifest.base_digest)

    def _verified(self, file: str, digest: str) -> dict[str, Tensor]:
        """Read one of the bank's files; raises `InputError` if it is not what `collect` wrote."""
        if _core.digest_file(self.path / file) != digest:
            raise InputError(f"{self.path / file}: damaged (its digest differs from the manifest's)")
        return read_tensors(self.path / file)

    @cached_property
    def subset_names(self) -> frozenset[str]:
        """The names of the tensors that vary, and are generated."""
        return frozenset(segment.name for segment in self.layout.segments)

    def flatten(self, state_dict: Mapping[str, Tensor]) -> Tensor:
        """Concatenate the subset of a state dict in layout order: → float32 [D]."""
        return flatten(self.layout, state_dict)

    def state_dict(self, row: Tensor) -> dict[str, Tensor]:
        """Return a complete checkpoint: the base with the subset taken from `row` [D], dtypes restored."""
        return self.base | restore(self.layout, row)


def flatten(layout: Layout, state_dict: Mapping[str, Tensor]) -> Tensor:
    """Concatenate the layout's tensors of a state dict: → float32 [D]; raises `InputError` if one differs."""
    parts = []
    for segment in layout.segments:
        tensor = state_dict.get(segment.name)
        if tensor is None or tuple(tensor.shape) != segment.shape:
            found = "is missing" if tensor is None else f"has shape {tuple(tensor.shape)}"
            raise InputError(f"tensor {segment.name} {found}; the bank holds {segment.shape}")
        parts.append(tensor.detach().reshape(-1).float())
    return torch.cat(parts)


def restore(layout: Layout, row: Tensor) -> dict[str, Tensor]:
    """Cut a raw row [D] into named tensors with the source's shapes and dtypes; inverse of `flatten`.

    Raises `InputError` if a value does not fit the dtype (float16 overflows at 65,504).
    """
    if row.shape != (layout.dim,):
        raise ValueError(f"a row of {layout.dim} numbers is wanted, not {tuple(row.shape)}")
    tensors = {}
    for segment in layout.segments:
        values = row[segment.begin : segment.end]
        tensor = values.to(_TORCH_DTYPES[segment.dtype]).reshape(segment.shape).clone()
        if segment.dtype in {"F16", "BF16"} and not bool(tensor.isfinite().all()):
            largest = float(values.abs().max()) if values.numel() else math.nan
            raise InputError(f"tensor {segment.name}: {largest:g} does not fit {segment.dtype}")
        tensors[segment.name] = tensor
    return tensors
