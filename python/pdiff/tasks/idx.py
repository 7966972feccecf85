"""Read arrays of unsigned bytes in MNIST's idx format."""

import gzip
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pdiff.common.errors import InputError

_UNSIGNED_BYTE = 0x08  # in the magic number of the format


_LARGEST = 1_000_000
"""Samples that a file may hold whose number is not known."""


def read_idx(path: Path, shape: tuple[int | None, ...]) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes that must have exactly this shape; None takes any number.

    A file named `.gz` is unpacked, at most one byte more than the shape needs. Raises `InputError` that names
    the file if it is missing, not gzip, not idx, of another shape, or of a wrong length.
    """
    header = 4 + 4 * len(shape)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(header)
            found = _shape(path, head, shape)
            raw = file.read(prod(found) + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: not a whole gzip file ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if len(raw) != prod(found):
        length, expected = header + len(raw), header + prod(found)
        state = "longer" if length > expected else f"cut short at {length} bytes"
        raise InputError(f"{path}: {state}, expected {expected} bytes for {_times(found)} values")
    return np.frombuffer(raw, dtype=np.uint8).reshape(found)


def _shape(path: Path, head: bytes, wanted: tuple[int | None, ...]) -> tuple[int, ...]:
    """Return the shape that the first bytes of a file say, which must be the one that is wanted."""
    if len(head) < 4 + 4 * len(wanted) or head[:4] != bytes((0, 0, _UNSIGNED_BYTE, len(wanted))):
        raise InputError(f"{path}: not an idx file of unsigned bytes with {len(wanted)} dimensions")
    found = struct.unpack(f">{len(wanted)}I", head[4:])
    if any(size not in (here, None) for size, here in zip(wanted, found, strict=True)) or (
        None in wanted and found[0] > _LARGEST
    ):
        raise InputError(f"{path}: holds {_times(found)} values, expected {_times(wanted)}")
    return found


def _times(shape: tuple[int | None, ...]) -> str:
    return "×".join("any number" if size is None else str(size) for size in shape)
