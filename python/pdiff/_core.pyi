"""The Rust half of `pdiff`: checkpoint bytes in, normalised rows out. Knows nothing of torch."""

import sys
from collections.abc import Sequence
from os import PathLike
from typing import final

from typing_extensions import Buffer

__all__ = [
    "InputError",
    "Layout",
    "Normalizer",
    "PdiffError",
    "Segment",
    "Shard",
    "TensorInfo",
    "__version__",
    "digest",
    "digest_file",
    "gather",
    "natural_sort",
    "read_header",
    "statistics",
    "varying_tensors",
    "write_file",
    "write_shard",
]

__version__: str

class PdiffError(Exception):
    """Base of every error that `pdiff` raises on purpose."""

class InputError(PdiffError):
    """A file or its content is refused."""

@final
class TensorInfo:
    """One tensor of a safetensors file, as its header declares it."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str:
        """Safetensors name of the dtype, such as `F32`, `BF16` or `I64`."""
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def begin(self) -> int:
        """First byte in the file."""
    @property
    def end(self) -> int:
        """One past the last byte in the file."""

def read_header(path: str | PathLike[str]) -> tuple[list[TensorInfo], dict[str, str]]:
    """Tensors (in file order) and `__metadata__` of a safetensors file; reads the header only.

    Raises `InputError` for a malformed file, `OSError` for one that cannot be read.
    """

def natural_sort(names: Sequence[str]) -> list[str]:
    """`names` ordered as people count: `checkpoint-9` before `checkpoint-10`."""

def varying_tensors(paths: Sequence[str | PathLike[str]], names: Sequence[str]) -> list[bool]:
    """For each name, whether its bytes differ between any two of the safetensors files.

    All files must hold every name with the same dtype and shape. Reads in parallel; a tensor once found
    to vary is not read again.
    """

def write_file(path: str | PathLike[str], data: Buffer) -> None:
    """Write `data` durably: temporary sibling, fsync, rename over `path`, fsync of the directory.

    Respects the umask. The temporary sibling (`.NAME.tmp-PID-N`) is removed on failure.
    """

def digest(data: Buffer) -> str:
    """BLAKE3 of `data`, 64 hex digits."""

def digest_file(path: str | PathLike[str]) -> str:
    """BLAKE3 of a file's bytes, 64 hex digits; constant memory."""

@final
class Segment:
    """The columns that one tensor takes in a row."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def begin(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def log_variance(self) -> bool:
        """Whether the tensor is a `running_var`, modelled in log space."""

@final
class Layout:
    """The ordered tensors whose concatenation is one row of D numbers."""

    def __new__(cls, tensors: Sequence[tuple[str, str, Sequence[int]]]) -> Layout:
        """Lay out `(name, dtype, shape)` in natural order of the names.

        Raises `InputError` for a dtype that is not F64, F32, F16 or BF16, a duplicate name or an empty list.
        """
    @property
    def segments(self) -> list[Segment]: ...
    @property
    def dim(self) -> int:
        """D, the numbers in a row."""
    @property
    def fingerprint(self) -> str:
        """BLAKE3 over names, dtypes and shapes; equal if and only if the rows mean the same."""

def write_shard(
    path: str | PathLike[str],
    layout: Layout,
    sources: Sequence[str | PathLike[str]],
    *,
    allow_nonfinite: bool = False,
) -> list[str]:
    """Read the layout's tensors from each safetensors source and write them as rows of one shard.

    The shard is a safetensors file with one F32 tensor `rows` of shape [len(sources), D], written
    durably. Only the byte ranges of the layout are read, in parallel, in bounded memory. Returns each
    row's digest (BLAKE3 of the layout's source bytes). Raises `InputError` that names the file, the
    tensor and the count if a value is NaN or infinite, or if a file lacks a tensor of the layout or holds
    it with another dtype or shape; nothing is left behind then.
    """

@final
class Shard:
    """One immutable, memory-mapped shard. Lends its rows as a read-only buffer: f32, C order, [rows, D].

    `numpy.asarray(shard)` is a view that shares memory with the map and keeps it alive.
    """

    def __new__(cls, path: str | PathLike[str]) -> Shard:
        """Map the shard at `path`.

        Raises `InputError` for a file that is not exactly one F32 tensor `rows` of two axes.
        """
    @property
    def rows(self) -> int: ...
    @property
    def dim(self) -> int: ...
    if sys.version_info >= (3, 12):
        def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Normalizer:
    """How raw rows become training data, and back: y = (t(x) − mean) / std (arXiv 2402.13144).

    t is the identity, or log(x / scale + 0.05) for `log_variance` segments with scale = 0.95 · the
    tensor's mean over the bank (the paper's code). Arithmetic is f64, stored values f32.

    With u = 2⁻²⁴, `invert` after `apply` is off by at most u·(|x| + |x − mean|)(1 + ε) if t is the identity,
    which is within 2 ulp of max(|x|, |x − mean|), and by at most u·(x + (x + scale/20)·|t(x) − mean|)(1 + ε)
    if t is the logarithm and x ≥ 0; ε < 10⁻³. This holds where y neither overflows nor is subnormal.
    """

    @staticmethod
    def from_statistics(
        layout: Layout, kind: str, mean: Buffer, std: Buffer, log_scale: Buffer
    ) -> Normalizer:
        """Build from f64 arrays: `mean` and `std` [T] if kind is `tensor`, [D] if `element`; `log_scale` [T].

        `log_scale` is used for `log_variance` segments only. A std of 0 counts as 1. Raises `ValueError`
        for another kind or length, and for a value that is not finite, a negative std or a `log_scale`
        that is not positive.
        """
    @staticmethod
    def identity(layout: Layout) -> Normalizer:
        """Build the normaliser that changes nothing, bit for bit."""
    @property
    def kind(self) -> str: ...
    def apply(self, rows: Buffer) -> None:
        """Normalise f32 `rows` [N, D] in place."""
    def invert(self, rows: Buffer) -> None:
        """De-normalise f32 `rows` [N, D] in place. `log_variance` values are never negative."""

def statistics(shards: Sequence[Shard], layout: Layout) -> dict[str, bytearray]:
    """Compute statistics of all rows, streamed, the same for any number of threads: arrays of native f64.

    `log_scale` [T]: 0.95 · mean of each `log_variance` tensor over the bank, else 1. `tensor_mean` [T] and
    `tensor_std` [T]: within each row the tensor's mean and (population) std of t(x), averaged over rows.
    `element_mean` [D] and `element_std` [D]: over rows, of t(x), population. Raises `InputError` for a
    negative running variance, `ValueError` for no rows or a shard that does not fit the layout.
    """

def gather(
    shards: Sequence[Shard],
    indices: Buffer,
    out: Buffer,
    normalizer: Normalizer,
    begin: int = 0,
    end: int | None = None,
) -> None:
    """Copy rows `indices` (i64, over the shards in order), columns [begin, end), normalised, into `out`.

    `out` is a writable, C-contiguous f32 buffer of shape [len(indices), end − begin]. One pass, several
    threads, GIL released. Raises `IndexError` for an index out of range, `ValueError` for a wrong buffer.
    """
