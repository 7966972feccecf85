"""Open a bank, choose among its members, and turn rows back into checkpoints."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pdiff import _core
from pdiff._core import Layout, Normalizer
from pdiff.bank.manifest import SOURCE, FileEntry, Manifest, Member, TaskRef
from pdiff.bank.rows import Indices, Normalization, Rows, accepted, checked, flatten, lend, restore
from pdiff.common.arrays import Arrays, read_arrays
from pdiff.common.errors import UsageError
from pdiff.common.rng import numpy_generator

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class _Members(ABC):
    """Members of a bank, in an order: all of them, which is the bank itself, or those of a view."""

    indices: npt.NDArray[np.int64]
    """The rows of the bank, read-only [K]."""

    @property
    @abstractmethod
    def bank(self) -> "Bank":
        """The bank that the members are of."""

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        size = f"{len(self):,} checkpoints × {self.bank.dim:,} numbers"
        return f"<{type(self).__name__} {self.bank.path}: {size}>"

    @cached_property
    def members(self) -> Sequence[Member]:
        """The checkpoints, in row order."""
        return tuple(self.bank.manifest.members[index] for index in self.indices)

    def row(self, index: int) -> npt.NDArray[np.generic]:
        """Return row `index` [D] as a read-only view of the memory map, as it is stored: no copy.

        float32, or float16, or the bits of bfloat16, which NumPy does not know, as uint16:
        `torch.from_numpy(row.copy()).view(torch.bfloat16)`. Raises `IndexError`.
        """
        (place,) = self.indices[checked([index], len(self))]
        shard = int(np.searchsorted(self.bank.starts, place, side="right")) - 1
        row: npt.NDArray[np.generic] = np.asarray(self.bank.shards[shard])[place - self.bank.starts[shard]]
        return row

    def gathered(self, indices: Indices, normalizer: Normalizer | None = None) -> npt.NDArray[np.float32]:
        """Gather rows, normalised, without torch: → new float32 [B, D]. Raises `IndexError`."""
        bank, rows = self.bank, self.indices[checked(indices, len(self))]
        out = np.empty((len(rows), bank.dim), dtype=np.float32)
        _core.gather(bank.shards, rows, out, normalizer or bank.normalizer("none"), 0, bank.dim)
        return out

    def batch(
        self,
        indices: Indices,
        normalizer: Normalizer | None = None,
        *,
        columns: tuple[int, int] | None = None,
        out: "Tensor | None" = None,
        dtype: "torch.dtype | None" = None,
    ) -> "Tensor":
        """Gather rows, normalised, in one pass: → [B, D], or [B, end − begin] with `columns`.

        `out`, a contiguous CPU tensor of that shape, pinned or not, is filled and returned when given; else
        a tensor of `dtype` is made. Either is float32, the default, or bfloat16. Raises `ValueError` for
        another tensor or range of columns, `IndexError` for a row that is not there.
        """
        import torch  # noqa: PLC0415 (a bank is opened without it)

        bank, rows = self.bank, self.indices[checked(indices, len(self))]
        begin, end = columns or (0, bank.dim)
        if out is None:
            out = torch.empty(len(rows), max(end - begin, 0), dtype=accepted(dtype or torch.float32))
        lent = lend(out, dtype)
        _core.gather(bank.shards, rows, lent, normalizer or bank.normalizer("none"), begin, end)
        return out

    def view(self, choice: Indices | Callable[[Member], bool]) -> "View":
        """Return the members of these indices, in this order, or those for which `choice(member)` is true.

        Raises `IndexError` for one that is not there.
        """
        if callable(choice):
            choice = [index for index, member in enumerate(self.members) if choice(member)]
        return View(self.bank, self.indices[checked(choice, len(self))])

    def where(self, predicate: Callable[[Member], bool]) -> "View":
        """Return the members for which `predicate` is true, as in `lambda m: m.metrics["accuracy"] > 0.9`."""
        return self.view(predicate)

    def every(self, n: int) -> "View":
        """Return one member in `n`: 0, n, 2n and so on."""
        if n < 1:
            raise ValueError(f"every {n}; accepted: 1 or more")
        return self.view(range(0, len(self.members), n))

    def split(self, held_out: float = 0.1, seed: int = 0) -> "tuple[View, View]":
        """Return a random split (train, held out), a function of `seed` and the number of members K.

        round(K · held_out) members are held out, but at least one and not all. Both keep the bank's order.
        """
        K = len(self.members)
        if not 0 < held_out < 1 or K < 2:
            raise ValueError(f"held_out {held_out} of {K} members; accepted: 0 < held_out < 1 of 2 or more")
        count = min(max(round(K * held_out), 1), K - 1)
        order = numpy_generator(seed, "split").permutation(K)
        return self.view(np.sort(order[count:])), self.view(np.sort(order[:count]))


class Bank(Rows, _Members):
    """K checkpoints of one network as rows of D numbers, memory-mapped from a directory.

    `len(bank)` is K, `bank.dim` is D. Rows hold the raw values, in float32 if the bank was not collected in
    half precision; a `Normalizer` turns them into training data while they are gathered. `bank.view`,
    `bank.where`, `bank.every` and `bank.split` choose members without a copy.

    Nobody may cut a shard off while the bank is open: like any memory map, it ends the process (SIGBUS).
    """

    def __init__(self, path: Path, manifest: Manifest, digest: str) -> None:
        super().__init__(path, manifest)
        self.indices = np.arange(len(manifest.members))
        self.indices.flags.writeable = False
        self.digest = digest
        """BLAKE3 of the manifest, which holds the digests of every other file."""

    @staticmethod
    def open(path: str | Path) -> "Bank":
        """Open the bank in directory `path`; `UsageError` if there is none, `InputError` if damaged.

        The manifest is checked whole, shards by their sizes, base and statistics when they are first read;
        `pdiff.verification.verify` reads every byte.
        """
        path = Path(path)
        return Bank(path, *Manifest.read(path))

    @property
    def bank(self) -> "Bank":
        """Itself."""
        return self

    @property
    def task(self) -> TaskRef | None:
        """The task that the checkpoints solve, if the folder said so."""
        return self.manifest.task

    def required_task(self) -> TaskRef:
        """Return the task that the checkpoints solve; `UsageError` if the folder did not say."""
        if self.task is None:
            raise UsageError(
                f"{self.path}: the bank names no task; say which with --task NAME or FILE.py:NAME"
            )
        return self.task

    @cached_property
    def base(self) -> "dict[str, Tensor]":
        """One complete checkpoint: everything that is not generated is taken from it."""
        from pdiff.common.tensors import to_tensors  # noqa: PLC0415 (imports torch)

        return to_tensors(self._base)

    @cached_property
    def _base(self) -> Arrays:
        return read_arrays(self._verified(self.manifest.base))

    def companions(self) -> dict[str, bytes]:
        """Return the files that stood beside the weights of a checkpoint (configuration, index), by name."""
        digests = self.manifest.source.companions.items()
        entries = {name: FileEntry(f"{SOURCE}/{name}", digest) for name, digest in digests}
        return {name: self._verified(entry).read_bytes() for name, entry in entries.items()}

    @cached_property
    def subset_names(self) -> frozenset[str]:
        """The names of the tensors that vary, and are generated; those tied to one of them too."""
        names = {segment.name for segment in self.layout.segments}
        return frozenset(names | {alias for alias, name in self.manifest.tied.items() if name in names})

    def flatten(self, state_dict: "Mapping[str, Tensor]") -> "Tensor":
        """Concatenate the subset of a state dict in layout order: → float32 [D]."""
        return flatten(self.layout, state_dict)

    def complete(self, row: npt.NDArray[np.float32]) -> Arrays:
        """Return a complete checkpoint: the base with the subset taken from `row` [D], dtypes restored.

        Names of tied tensors share one. Raises `InputError` if a value does not fit its dtype.
        """
        return self._tie(self._base | restore(self.layout, row))

    def state_dict(self, row: "Tensor") -> "dict[str, Tensor]":
        """Return what `complete` does, as torch's tensors."""
        from pdiff.common.tensors import to_tensors  # noqa: PLC0415 (imports torch)

        return to_tensors(self.complete(row.numpy()))

    def subset(self, row: "Tensor") -> "dict[str, Tensor]":
        """Return only the tensors of `row` [D], under each of their names, as in `state_dict`."""
        from pdiff.common.tensors import to_tensors  # noqa: PLC0415 (imports torch)

        return to_tensors(self._tie(restore(self.layout, row.numpy())))

    def _tie(self, state: Arrays) -> Arrays:
        return state | {alias: state[name] for alias, name in self.manifest.tied.items() if name in state}


class View(_Members):
    """Members of a bank chosen by `Bank.view`, `where`, `every` or `split`, which a view has too.

    It reads the bank's own memory map. Layout, statistics and normalisers are those of the *whole* bank, so
    that rows mean the same in every view; held-out members have thus had their part in mean and std.
    """

    def __init__(self, bank: Bank, indices: npt.NDArray[np.int64]) -> None:
        self._bank = bank
        self.indices = indices
        self.indices.flags.writeable = False

    @property
    def bank(self) -> Bank:
        """The bank that the members were chosen from."""
        return self._bank

    @property
    def dim(self) -> int:
        """D, the numbers in a row."""
        return self.bank.dim

    @property
    def layout(self) -> Layout:
        """The tensors of a row."""
        return self.bank.layout

    @property
    def statistics(self) -> "dict[str, Tensor]":
        """Statistics over all rows of the bank; see `Bank.statistics`."""
        return self.bank.statistics

    def normalizer(self, kind: Normalization) -> Normalizer:
        """Return the bank's normaliser; see `Bank.normalizer`."""
        return self.bank.normalizer(kind)
