"""The Rust half of `pdiff`: checkpoint bytes in, normalised rows out. Knows nothing of torch."""

import sys
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import final

from typing_extensions import Buffer

__all__ = [
    "Checkpoint",
    "CodeError",
    "InputError",
    "Layout",
    "Normalizer",
    "Origin",
    "PdiffError",
    "Prefetch",
    "Segment",
    "Shard",
    "Summary",
    "TensorInfo",
    "WrongSets",
    "__version__",
    "add_rows",
    "combine",
    "digest",
    "digest_file",
    "exchange",
    "gather",
    "gram",
    "natural_sort",
    "non_finite",
    "open_checkpoints",
    "read_rows",
    "remove_stale",
    "varying_tensors",
    "write_checkpoint",
    "write_file",
    "write_shards",
    "write_statistics",
    "write_tensors",
]

__version__: str

class PdiffError(Exception):
    """Base of every error that `pdiff` raises on purpose."""

class InputError(PdiffError):
    """A file or its content is refused."""

class CodeError(InputError):
    """A file is refused because it holds code or objects: `pdiff convert` can help, and only here."""

@final
class TensorInfo:
    """One tensor of a checkpoint, as the file declares it."""

    @property
    def name(self) -> str:
        """Its name without wrappers (`module.`, `_orig_mod.`, …)."""
    @property
    def source_name(self) -> str:
        """Its name as the file has it, in its dictionary."""
    @property
    def part(self) -> int:
        """Index of its dictionary in `Checkpoint.parts`."""
    @property
    def dtype(self) -> str:
        """Safetensors name of the dtype, such as `F32`, `BF16` or `I64`."""
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def file(self) -> int:
        """Index of its file among those of the checkpoint."""
    @property
    def tied_to(self) -> str | None:
        """The name of the first tensor that is the very same view of the same memory, if there is one."""

@final
class Origin:
    """Where the weights of a checkpoint are, without what they are: small enough to keep a million."""

    @property
    def files(self) -> list[Path]: ...
    @property
    def keys(self) -> list[str]:
        """Where in the file, as `Checkpoint.keys`."""
    @property
    def ema(self) -> bool | None:
        """Whether averages had to be taken, or not, as `Checkpoint` was told."""
    @property
    def key(self) -> str:
        """The keys joined by `.`, for people: two dictionaries can have one such text."""
    @property
    def stamp(self) -> str:
        """Size, times, inode and device of each file, as text: another stamp, another content."""
    def open(self) -> Checkpoint:
        """Open the checkpoint again; raises `InputError` if a file has changed since."""

@final
class Summary:
    """What is kept of a checkpoint among many: no header, which can be large."""

    @property
    def origin(self) -> Origin: ...
    @property
    def kind(self) -> str:
        """As `Checkpoint.kind`."""
    @property
    def key(self) -> str:
        """As `Checkpoint.key`."""
    @property
    def averaged(self) -> bool:
        """As `Checkpoint.averaged`."""
    @property
    def numbers(self) -> dict[str, float]:
        """As `Checkpoint.numbers`."""

@final
class Checkpoint:
    """The weights of one checkpoint, checked but not read: data only, nothing of a file is executed.

    Reads safetensors, torch's zip format and torch's legacy format (told apart by their first bytes).
    """

    def __new__(
        cls,
        files: Sequence[str | PathLike[str]],
        *,
        key: str | None = None,
        ema: bool | None = None,
        keys: Sequence[str] | None = None,
    ) -> Checkpoint:
        """Read the headers of `files`: one file, or several that hold one state dict together.

        Where a torch file nests several dictionaries of tensors, `key` names what is wanted as people do (a
        dictionary, one that holds several, or what names begin with), and `keys` as `Checkpoint.keys` has it.
        Else averaged (EMA) weights stand for those that they are averages of, or these for them if `ema` is
        false; with `ema` true there must be averages. Of what is left, `state_dict`, `model` or `module` is
        taken alone, and without them everything together, with the tensors beside, but for scalars. Ctrl-C
        interrupts. Raises `CodeError` for a file that holds code or objects, `InputError` for any other that
        is refused, `OSError` for one that cannot be read.
        """
    @property
    def origin(self) -> Origin: ...
    @property
    def format(self) -> str:
        """`safetensors`, `torch` (zip) or `torch-legacy`."""
    @property
    def keys(self) -> list[str]:
        """Keys that lead to the weights, none for the top level; each may have a `.` in it.

        The last one may be what names in the dictionary begin with, in front of a dot.
        """
    @property
    def parts(self) -> list[list[str]]:
        """Keys of each dictionary that the weights are in: one, but where several are parts of a network."""
    @property
    def passed_over(self) -> list[str]:
        """Keys of weights that were not taken: dictionaries, or what names in those taken begin with."""
    @property
    def key(self) -> str:
        """The keys joined by `.`, for people; empty for the top level."""
    @property
    def averaged(self) -> bool:
        """Whether the weights are averaged (EMA) ones, by their keys."""
    @property
    def candidates(self) -> list[tuple[str, int, int]]:
        """Every dictionary of tensors in the file: key, tensors, numbers in them."""
    @property
    def tensors(self) -> list[TensorInfo]:
        """Tensors in the order of the file."""
    @property
    def prefixes(self) -> list[tuple[str, int]]:
        """Wrappers that were removed from names, each with the number of names."""
    @property
    def left_out(self) -> list[str]:
        """Entries that are no weights (`_extra_state`, counters)."""
    @property
    def rest(self) -> tuple[str | None, list[str]]:
        """What stands beside the weights in a torch file, as far as it is plain values, and keys of the rest.

        JSON of the object of the file without tensors, in which a tuple is `{"tuple": [...]}`, a dictionary
        `{"dict": [[key, value], ...]}`, an `OrderedDict` `{"ordered": ...}`; NaN and infinities are Python's.
        None for other formats and for more than 1 MiB.
        """
    @property
    def numbers(self) -> dict[str, float]:
        """Plain finite numbers beside the weights: accuracy, step, epoch.

        Of a safetensors file, the entries of its metadata that are decimals, such as `-1.5e3`.
        """
    @property
    def metadata(self) -> dict[str, str]:
        """The free text of a safetensors header."""
    @property
    def kind(self) -> str:
        """BLAKE3 over names, dtypes and shapes in order of name: equal for checkpoints of one network."""
    @property
    def size(self) -> int:
        """Bytes of the files together."""
    def read(self, name: str) -> bytes:
        """Return the bytes of one tensor in C order, its storage's CRC verified where there is one."""
    def read_many(self, names: Sequence[str]) -> list[bytes]:
        """Return the bytes of some tensors, as `read` would; the files are opened once for all of them."""

def open_checkpoints(
    files: Sequence[Sequence[str | PathLike[str]]], *, key: str | None = None, ema: bool | None = None
) -> list[Summary | InputError | OSError]:
    """Open many checkpoints in parallel; those that fail are given as the error.

    Of each only the summary is kept, so that memory does not grow with their headers.
    """

def natural_sort(names: Sequence[str]) -> list[str]:
    """`names` in natural order: `checkpoint-9` before `checkpoint-10`."""

def varying_tensors(
    origins: Sequence[Origin], names: Sequence[str], *, sample: bool = False, checksums: bool = True
) -> list[bool | None]:
    """For each name, whether its values differ, bit for bit, between any two of the checkpoints.

    None where no difference was seen, but only a sample was compared.

    All must hold every name with the same dtype and shape. Reads in parallel; a tensor once found to vary is
    not read again. With `checksums`, two storages of torch archives whose recorded lengths and CRC-32 agree
    count as the same without being read: fast, but damage of the bytes is not noticed, nor is a CRC that
    somebody forged; without it every byte is read and the CRCs are verified. With `sample`, only the first,
    middle and last 4 KiB of a tensor are compared; raises `ValueError` for that without `checksums`.
    """

def read_rows(layout: Layout, origins: Sequence[Origin], out: Buffer) -> None:
    """Read the layout's tensors of each checkpoint into a row of f32 `out` [len(origins), D].

    Only their byte ranges are read, in parallel. Raises `InputError` as `write_shards` does, `ValueError` for
    a wrong buffer.
    """

def non_finite(layout: Layout, origins: Sequence[Origin]) -> list[str | None]:
    """For each checkpoint, which of the layout's tensors holds NaN or infinity, in words; None if none does.

    Reads as `read_rows` does, in bounded memory, and raises `InputError` for everything else that it refuses.
    """

def add_rows(
    layout: Layout,
    origins: Sequence[Origin],
    weights: Sequence[float],
    sums: Buffer,
    samples: Buffer | None = None,
    stride: int = 1,
) -> None:
    """Add the row of each checkpoint, times its weight, to `sums` f64 [D], in order, in one pass over files.

    `samples` f32 [len(origins), ceil(D / stride)] receives every `stride`-th number of each row. The sums are
    the same for any number of threads. Raises `InputError` as `write_shards` does, `ValueError` for a wrong
    buffer; the sums are then of no use.
    """

def write_checkpoint(
    path: str | PathLike[str], origin: Origin, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a whole checkpoint as one safetensors file, durably, under its plain names, in bounded memory.

    Tied tensors are written under each of their names.
    """

def write_file(path: str | PathLike[str], data: Buffer) -> None:
    """Write `data` durably: temporary sibling, fsync, rename over `path`, fsync of the directory.

    Respects the umask. The temporary sibling (`.NAME.tmp-PID-N`) is removed on failure and locked
    (`flock`) while it is written, so that one that a killed process left can be told and removed.
    """

def exchange(one: str | PathLike[str], other: str | PathLike[str]) -> None:
    """Exchange two paths of one file system in one step, so that neither is ever missing.

    Raises `OSError` with `EINVAL` or `ENOSYS` where the file system cannot.
    """

def remove_stale(folder: str | PathLike[str]) -> list[str]:
    """Remove the temporary siblings in `folder` that killed processes left; return their names.

    One is left where it is as long as it is locked, and for a day after its last change if another process of
    this machine has the id in its name.
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

def write_tensors(
    path: str | PathLike[str],
    tensors: Sequence[tuple[str, str, Sequence[int], Buffer]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write tensors, each (name, dtype, shape, bytes in C order), as one safetensors file, durably.

    The same content gives the same bytes, whatever the order. Raises `ValueError` for a dtype that
    safetensors does not know and for bytes that are not those of dtype and shape.
    """

def write_shards(
    parts: Sequence[tuple[str | PathLike[str], Sequence[Origin]]],
    layout: Layout,
    *,
    dtype: str = "F32",
) -> list[tuple[list[str], str]]:
    """Read the layout's tensors from each checkpoint and write them as rows of shards.

    A shard is a safetensors file with one tensor `rows` of shape [len(origins), D], stored as `dtype` (F32,
    F16 or BF16), written durably. Only the byte ranges of the layout are read, rows of all shards in
    parallel, in bounded memory. Returns for each shard the digest of each row (BLAKE3 of the layout's source
    bytes) and of the file. Raises `InputError` that names the file, the tensor and the count if a value is
    NaN or infinite, or if a file lacks a tensor of the layout or holds it with another dtype or shape; also
    if a value is too large for `dtype`. Shards that were complete stay then, and of the others nothing.
    """

@final
class Shard:
    """One immutable, memory-mapped shard. Lends its rows as a read-only buffer, C order, [rows, D].

    Its elements are f32, f16, or the bits of bf16 as u16, for which the buffer protocol has no name.
    `numpy.asarray(shard)` is a view that shares memory with the map and keeps it alive.
    """

    def __new__(cls, path: str | PathLike[str]) -> Shard:
        """Map the shard at `path`.

        Raises `InputError` for a file that is not exactly one tensor `rows` of two axes, F32, F16 or BF16.
        """
    @property
    def dtype(self) -> str:
        """How the numbers are stored: `F32`, `F16` or `BF16`."""
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

@final
class WrongSets:
    """Which of N samples each of M models gets wrong, a bit each. Indices are i64, from 0 on.

    The similarity of two models is the intersection over union of what they get wrong, 1 for an empty union.
    Raises `ValueError` for models and samples that there are not.
    """

    def __new__(cls, wrong: Buffer) -> WrongSets:
        """Pack u8 [M, N]: what is not 0 is wrong."""
    def drawn(self, samples: Buffer) -> WrongSets:
        """Return the sets of samples drawn with repeats, i64 [n], but for those that nobody gets wrong."""
    def sizes(self, out: Buffer) -> None:
        """Write how many samples each model gets wrong to i64 [M]."""
    def nearest(self, models: Buffer, members: Buffer, itself: Buffer, out: Buffer) -> None:
        """Write the largest similarity of each of `models` [A] to one of `members` [B] to f64 [A].

        `itself` i64 [A] is the place among the members of one that does not count, −1 if all do.
        """
    def sums_after(self, models: Buffer, weights: Buffer, ends: Buffer, out: Buffer) -> None:
        """Write Σ of weight · similarity of each of `models` [A] to those after it to f64 [A, G], by group.

        `weights` are f64 [A], `ends` i64 [G]: the places after the last model of each group, ascending.
        """

def write_statistics(path: str | PathLike[str], shards: Sequence[Shard], layout: Layout) -> None:
    """Write statistics of all rows as a safetensors file of F64, durably; the same for any number of threads.

    `log_scale` [T]: 0.95 · mean of each `log_variance` tensor over the bank, else 1. `tensor_mean` [T] and
    `tensor_std` [T]: within each row the tensor's mean and (population) std of t(x), averaged over rows;
    a std that is only rounding, as of one number, gives way to the root mean square of `element_std`.
    `tensor_min` [T] and `tensor_max` [T]: the least and greatest x of all rows; 0 of an empty tensor.
    `element_mean` [D] and `element_std` [D]: over rows, of t(x), population; they are written on the way, in
    memory that does not grow with D. Raises `InputError` for a negative running variance, `ValueError` for no
    rows or a shard that does not fit the layout, `OSError` for a disk that is full.
    """

def gram(shards: Sequence[Shard], normalizer: Normalizer, *, centred: bool = True) -> bytearray:
    """Compute the Gram matrix [K, K] of the normalised rows: native f64 in C order.

    Streamed in blocks of columns, the products in f32 and their sum in f64; the same for any number of
    threads. With `centred`, each column is centred over the rows first. Raises `ValueError` for no rows, and
    for more than 32,768.
    """

def combine(
    coefficients: Buffer,
    shards: Sequence[Shard],
    normalizer: Normalizer,
    out: Buffer,
    *,
    centred: bool = False,
) -> None:
    """Write `coefficients` [n, K] times the normalised rows [K, D] to `out` [n, D]; all f32.

    With `centred`, each column is centred over the rows first. Each row is read once, whatever n is. Raises
    `ValueError` for shapes that do not fit.
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

    `out` is a writable, C-contiguous buffer of shape [len(indices), end − begin]: f32, or u16 for the bits of
    bf16, rounded to nearest even after the normalisation. One pass, several threads, GIL released. Raises
    `IndexError` for an index out of range, `ValueError` for a wrong buffer.
    """

@final
class Prefetch:
    """Batches gathered ahead by one thread, into buffers that the caller owns.

    The thread stops when the object is dropped. In a fork of the process that made it, `submit` and `wait`
    raise `PdiffError`.
    """

    def __new__(
        cls,
        shards: Sequence[Shard],
        buffers: Sequence[Buffer],
        normalizer: Normalizer,
        begin: int = 0,
        end: int | None = None,
    ) -> Prefetch:
        """Start the thread. A buffer's index is its slot; each is as `out` of `gather`, [B, end − begin].

        Raises `ValueError` for a wrong buffer. The buffers must not share memory.
        """
    def submit(self, slot: int, indices: Buffer) -> None:
        """Ask for the rows `indices` (i64, at most B) in the first rows of buffer `slot`; does not wait.

        Until `wait` has returned the slot, nobody else may read or write its buffer. Raises `ValueError` for
        a slot that is being filled or is not there, and for more indices than rows.
        """
    def wait(self) -> int:
        """Wait, without the GIL, for the batch that was asked for first; return its slot.

        Raises what `gather` would, once: the next call waits for the next batch. Raises `ValueError` if
        nothing was asked for. Ctrl-C ends the waiting, not the work.
        """
