"""Read and combine the rows of a bank, which are mapped from its shards."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from pdiff import _core
from pdiff._core import Layout, Normalizer
from pdiff.bank.manifest import MANIFEST, FileEntry, Manifest
from pdiff.bank.spectral import layers, singular_vectors
from pdiff.common.arrays import Arrays, read_arrays, rounded
from pdiff.common.errors import InputError
from pdiff.common.sealing import check_digest
from pdiff.common.wording import shown

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Normalization = Literal["tensor", "element", "none"]
Indices = Sequence[int] | npt.NDArray[np.int64]

NARROW = frozenset({"F16", "BF16"})
"""Dtypes of checkpoints that not every finite float32 fits."""


class Rows:
    """The K rows of D numbers of the bank at `path`: raw, or normalised while they are gathered."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.layout = Layout([(t.name, t.dtype, t.shape) for t in manifest.layout])
        if self.layout.fingerprint != manifest.fingerprint or self.layout.dim != manifest.dim:
            raise InputError(f"{path}: the layout in the manifest does not match its fingerprint")
        self.shards = [_core.Shard(path / shard.file) for shard in manifest.shards]
        for entry, shard in zip(manifest.shards, self.shards, strict=True):
            found = f"{shard.rows}×{shard.dim}×{shard.dtype}"
            said = f"{entry.rows}×{self.dim}×{manifest.dtype}"
            if found != said:
                raise InputError(f"{path / entry.file}: {found}, the manifest says {said}")
        if sum(shard.rows for shard in self.shards) != len(manifest.members):
            raise InputError(
                f"{path}: {len(manifest.members)} members, but the shards hold another number of rows"
            )
        self.starts = np.cumsum([0, *(shard.rows for shard in self.shards)])
        """The first row of each shard, and K."""
        self.derived: dict[Any, Any] = {}
        """What is computed from the rows once and kept as long as the bank: the cache of `spectrum`."""

    def __len__(self) -> int:
        return len(self.manifest.members)

    @property
    def dim(self) -> int:
        """D, the numbers in a row."""
        return self.layout.dim

    def prefetch(
        self, buffers: "Sequence[Tensor]", normalizer: Normalizer | None, columns: tuple[int, int] | None
    ) -> _core.Prefetch:
        """Start the thread that fills `buffers`, each as `out` of `batch`; `Stream` makes batches of them."""
        lent = [lend(buffer) for buffer in buffers]
        begin, end = columns or (0, self.dim)
        return _core.Prefetch(self.shards, lent, normalizer or self.normalizer("none"), begin, end)

    def gram(self, normalizer: Normalizer, *, centred: bool = True) -> "Tensor":
        """Return the Gram matrix of the normalised rows, by default centred over them: float64 [K, K].

        Streamed: memory does not grow with D. The same for any number of threads.
        """
        import torch  # noqa: PLC0415 (a bank is opened without it)

        matrix = _core.gram(self.shards, normalizer, centred=centred)
        return torch.frombuffer(matrix, dtype=torch.float64).reshape(len(self), len(self))

    def combine(self, coefficients: "Tensor", normalizer: Normalizer, *, centred: bool = False) -> "Tensor":
        """Return linear combinations of the normalised rows: [n, K] → float32 [n, D], each row read once."""
        import torch  # noqa: PLC0415 (a bank is opened without it)

        out = torch.empty(len(coefficients), self.dim)
        weights = coefficients.float().contiguous().numpy()
        _core.combine(weights, self.shards, normalizer, out.numpy(), centred=centred)
        return out

    def normalizer(self, kind: Normalization) -> Normalizer:
        """Return the bank's normaliser: one mean and std a tensor (the paper), one an element, or none."""
        if kind == "none":
            return Normalizer.identity(self.layout)
        found = {name: array.values for name, array in self._statistics.items()}
        mean, std = (found[f"{kind}_{name}"] for name in ("mean", "std"))
        return Normalizer.from_statistics(self.layout, kind, mean, std, found["log_scale"])

    @cached_property
    def statistics(self) -> "dict[str, Tensor]":
        """Float64 statistics over all rows.

        `tensor_mean`, `tensor_std` [T], `element_mean` and `element_std` [D] are of what a `Normalizer` works
        on: of the logarithm of running variances, whose scale is in `log_scale` [T]. Mean and std of a tensor
        are those within a row, averaged over rows; where a row's numbers are alike, the std is that over
        rows. `tensor_min` and `tensor_max` [T] are of the numbers as the rows hold them.
        """
        from pdiff.common.tensors import to_tensors  # noqa: PLC0415 (imports torch)

        return to_tensors(self._statistics)

    @cached_property
    def _statistics(self) -> Arrays:
        return read_arrays(self._verified(self.manifest.statistics))

    def _verified(self, entry: FileEntry) -> Path:
        """Return the path of one of the bank's files; `InputError` if it is not what `collect` wrote."""
        return check_digest(self.path / entry.file, entry.digest, MANIFEST)


def checked(indices: Indices, count: int) -> npt.NDArray[np.int64]:
    """Return indices from 0 to `count` − 1 as an array [B]; raises `IndexError` for another.

    `ValueError` for what are no integers, such as a mask.
    """
    found = np.asarray(indices)
    if found.ndim != 1:
        raise ValueError(f"indices of shape {found.shape}; accepted: one axis")
    if found.dtype.kind not in "iu" and found.size:
        raise ValueError(f"indices of dtype {found.dtype}; accepted: integers")
    for index in found[(found < 0) | (found >= count)]:
        raise IndexError(f"member {index}; accepted: 0 to {count - 1}")
    return np.ascontiguousarray(found, dtype=np.int64)


def flatten(layout: Layout, state_dict: "Mapping[str, Tensor]") -> "Tensor":
    """Concatenate the layout's tensors of a state dict: → float32 [D]; raises `InputError` if one differs."""
    import torch  # noqa: PLC0415 (a bank is opened without it)

    parts = []
    for segment in layout.segments:
        tensor = state_dict.get(segment.name)
        if tensor is None or tuple(tensor.shape) != segment.shape:
            found = "is missing" if tensor is None else f"has shape {tuple(tensor.shape)}"
            raise InputError(f"tensor {shown(segment.name)} {found}; the bank holds {segment.shape}")
        parts.append(tensor.detach().reshape(-1).float())
    return torch.cat(parts)


def restore(layout: Layout, row: npt.NDArray[np.float32]) -> Arrays:
    """Cut a raw row [D] into named tensors with the source's shapes and dtypes; inverse of `flatten`.

    Layers under `spectral_norm` get the singular vectors of their weight, unless they have some of length 1.
    Raises `InputError` if a value does not fit the dtype (float16 overflows at 65,504).
    """
    if row.shape != (layout.dim,):
        raise ValueError(f"a row of {layout.dim} numbers is wanted, not {row.shape}")
    arrays: Arrays = {}
    for segment in layout.segments:
        values = row[segment.begin : segment.end]
        array = rounded(values, segment.dtype, segment.shape)
        if segment.dtype in NARROW and not array.is_finite():
            largest = float(np.abs(values).max()) if values.size else math.nan
            raise InputError(f"tensor {shown(segment.name)}: {largest:g} does not fit {segment.dtype}")
        arrays[segment.name] = array
    for layer in layers(arrays):
        arrays |= singular_vectors(arrays, layer)
    return arrays


def accepted(dtype: "torch.dtype") -> "torch.dtype":
    """Return the dtype of a batch, if it can be one; raises `ValueError`."""
    import torch  # noqa: PLC0415 (a bank is opened without it)

    if dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"dtype {dtype}; accepted: torch.float32, torch.bfloat16")
    return dtype


def lend(out: "Tensor", dtype: "torch.dtype | None" = None) -> npt.NDArray[Any]:
    """Return the memory of `out` as an array: float32, or the bits of bfloat16 as uint16.

    Raises `ValueError` for a tensor that the core cannot write to, and for one that is not `dtype`, if given.
    """
    import torch  # noqa: PLC0415 (a bank is opened without it)

    if accepted(out.dtype) != (dtype or out.dtype):
        raise ValueError(f"out is {out.dtype}; accepted: {dtype}, as asked for")
    if out.device.type != "cpu":
        raise ValueError(f"out is on {out.device}; accepted: cpu")
    if out.requires_grad:
        raise ValueError("out requires grad; accepted: a tensor that does not")
    bits = out.view(torch.uint16) if out.dtype == torch.bfloat16 else out
    array: npt.NDArray[Any] = bits.numpy()
    return array
