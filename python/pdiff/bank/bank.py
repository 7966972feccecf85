"""Reading a bank: row views, normalised batches, and the way back from a row to a checkpoint."""

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
from pdiff.bank.lending import accepted, lend
from pdiff.bank.manifest import SOURCE, FileEntry, Manifest, Member, TaskRef
from pdiff.bank.rows import flatten, restore
from pdiff.bank.view import Indices, Selectable, checked, integers
from pdiff.common.artifacts import read_tensors
from pdiff.common.errors import InputError

__all__ = ["Bank", "Normalization", "Normalizer"]

Normalization = Literal["tensor", "element", "none"]


class Bank(Selectable):
    """K checkpoints of one network as rows of D numbers, memory-mapped from a directory.

    `len(bank)` is K, `bank.dim` is D. Rows hold the raw values, in float32 if the bank was not collected in
    half precision; a `Normalizer` turns them into training data while they are gathered. `bank.view`,
    `bank.where`, `bank.every` and `bank.split` choose members without a copy.

    Nobody may cut a shard off while the bank is open: like any memory map, it ends the process (SIGBUS).
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
            found, said = (shard.rows, shard.dim, shard.dtype), (entry.rows, self.dim, manifest.dtype)
            if found != said:
                raise InputError(
                    f"{path / entry.file}: {'×'.join(map(str, found))}, "
                    f"the manifest says {'×'.join(map(str, said))}"
                )
        if sum(shard.rows for shard in self._shards) != len(manifest.members):
            raise InputError(
                f"{path}: {len(manifest.members)} members, but the shards hold another number of rows"
            )
        self._starts = np.cumsum([0, *(shard.rows for shard in self._shards)])

    @staticmethod
    def open(path: str | Path) -> "Bank":
        """Open the bank in directory `path`; `UsageError` if there is none, `InputError` if damaged.

        The manifest is checked whole, shards by their sizes, base and statistics when they are first read;
        `pdiff.verification.verify` reads every byte.
        """
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

    def locate(self, indices: Indices) -> "tuple[Bank, npt.NDArray[np.int64]]":
        """Return the bank itself and the indices, checked."""
        return self, checked(indices, len(self))

    def row(self, index: int) -> npt.NDArray[np.generic]:
        """Return row `index` [D] as a read-only view of the memory map, as it is stored: no copy.

        float32, or float16, or the bits of bfloat16, which NumPy does not know, as uint16:
        `torch.from_numpy(row.copy()).view(torch.bfloat16)`. Raises `IndexError`.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a bank of {len(self)}")
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        row: npt.NDArray[np.generic] = np.asarray(self._shards[shard])[index - int(self._starts[shard])]
        return row

    def batch(
        self,
        indices: Indices,
        normalizer: Normalizer | None = None,
        *,
        columns: tuple[int, int] | None = None,
        out: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Gather rows, normalised, in one pass: → [B, D], or [B, end − begin] with `columns`.

        `out`, a contiguous CPU tensor of that shape, pinned or not, is filled and returned when given; else
        a tensor of `dtype` is made. Either is float32, the default, or bfloat16. Raises `ValueError` for
        another tensor or range of columns, `IndexError` for a row that is not there.
        """
        begin, end = columns or (0, self.dim)
        index = integers(indices)
        if out is None:
            out = torch.empty(len(index), max(end - begin, 0), dtype=accepted(dtype or torch.float32))
        lent = lend(out, dtype)
        _core.gather(self._shards, index, lent, normalizer or self.normalizer("none"), begin, end)
        return out

    def prefetch(
        self, buffers: Sequence[Tensor], normalizer: Normalizer | None, columns: tuple[int, int] | None
    ) -> _core.Prefetch:
        """Start the thread that fills `buffers`, each as `out` of `batch`; `Stream` makes batches of them."""
        lent = [lend(buffer) for buffer in buffers]
        begin, end = columns or (0, self.dim)
        return _core.Prefetch(self._shards, lent, normalizer or self.normalizer("none"), begin, end)

    def gram(self, normalizer: Normalizer, *, centred: bool = True) -> Tensor:
        """Return the Gram matrix of the normalised rows, by default centred over them: float64 [K, K].

        Streamed: memory does not grow with D. The same for any number of threads.
        """
        matrix = _core.gram(self._shards, normalizer, centred=centred)
        return torch.frombuffer(matrix, dtype=torch.float64).reshape(len(self), len(self))

    def combine(self, coefficients: Tensor, normalizer: Normalizer, *, centred: bool = False) -> Tensor:
        """Return linear combinations of the normalised rows: [n, K] → float32 [n, D], each row read once."""
        out = torch.empty(len(coefficients), self.dim)
        weights = coefficients.float().contiguous().numpy()
        _core.combine(weights, self._shards, normalizer, out.numpy(), centred=centred)
        return out

    def nearest(
        self, rows: Tensor, normalizer: Normalizer, itself: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the nearest member of each normalised row, and its L2 distance: [n, D] → int64, float64 [n].

        `itself` int64 [n], for rows that are members, is the member that does not count.
        """
        excluded = torch.full((len(rows),), -1) if itself is None else itself
        found = _core.nearest(rows.numpy(), excluded.numpy(), self._shards, normalizer)
        members = torch.tensor([i for i, _ in found], dtype=torch.int64)
        return members, torch.tensor([d for _, d in found], dtype=torch.float64)

    def normalizer(self, kind: Normalization) -> Normalizer:
        """Return the bank's normaliser: one mean and std a tensor (the paper), one an element, or none."""
        if kind == "none":
            return Normalizer.identity(self.layout)
        mean, std = (self.statistics[f"{kind}_{name}"].numpy() for name in ("mean", "std"))
        return Normalizer.from_statistics(self.layout, kind, mean, std, self.statistics["log_scale"].numpy())

    @cached_property
    def statistics(self) -> dict[str, Tensor]:
        """Float64 statistics over all rows.

        `tensor_mean`, `tensor_std` [T], `element_mean` and `element_std` [D] are of what a `Normalizer` works
        on: of the logarithm of running variances, whose scale is in `log_scale` [T]. Mean and std of a tensor
        are those within a row, averaged over rows; where a row's numbers are alike, the std is that over
        rows. `tensor_min` and `tensor_max` [T] are of the numbers as the rows hold them.
        """
        return read_tensors(self._verified(self.manifest.statistics))

    @cached_property
    def base(self) -> dict[str, Tensor]:
        """One complete checkpoint: everything that is not generated is taken from it."""
        return read_tensors(self._verified(self.manifest.base))

    def companions(self) -> dict[str, bytes]:
        """Return the files that stood beside the weights of a checkpoint (configuration, index), by name."""
        found = {}
        for name, digest in self.manifest.source.companions.items():
            path = self._verified(FileEntry(f"{SOURCE}/{name}", digest))
            found[name] = path.read_bytes()
        return found

    def _verified(self, entry: FileEntry) -> Path:
        """Return the path of one of the bank's files; `InputError` if it is not what `collect` wrote."""
        path = self.path / entry.file
        try:
            found = _core.digest_file(path)
        except FileNotFoundError:
            raise InputError(f"{path}: gone; the bank was changed or replaced since it was opened") from None
        if found != entry.digest:
            raise InputError(f"{path}: damaged (its digest differs from the manifest's)")
        return path

    @cached_property
    def subset_names(self) -> frozenset[str]:
        """The names of the tensors that vary, and are generated; those tied to one of them too."""
        names = {segment.name for segment in self.layout.segments}
        return frozenset(names | {alias for alias, name in self.manifest.tied.items() if name in names})

    def flatten(self, state_dict: Mapping[str, Tensor]) -> Tensor:
        """Concatenate the subset of a state dict in layout order: → float32 [D]."""
        return flatten(self.layout, state_dict)

    def state_dict(self, row: Tensor) -> dict[str, Tensor]:
        """Return a complete checkpoint: the base with the subset taken from `row` [D], dtypes restored.

        Names of tied tensors share one tensor. Raises `InputError` if a value does not fit its dtype.
        """
        return self._tie(self.base | restore(self.layout, row))

    def subset(self, row: Tensor) -> dict[str, Tensor]:
        """Return only the tensors of `row` [D], under each of their names, as in `state_dict`."""
        return self._tie(restore(self.layout, row))

    def _tie(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return state | {alias: state[name] for alias, name in self.manifest.tied.items() if name in state}
