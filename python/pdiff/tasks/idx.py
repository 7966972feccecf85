"""The idx file format of the MNIST family: a magic number, big-endian dimensions, raw bytes; gzipped."""

import gzip
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pdiff.common.errors import InputError

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read a gzipped idx file of unsigned bytes that must have exactly this shape.

    Raises `InputError` that names the file if it is not gzip, not idx, of another shape, or of a wrong
    length. At most one byte more than the shape needs is unpacked.
    """
    header = 4 + 4 * len(shape)
    expected = header + prod(shape)
    try:
        with gzip.open(path) as file:
            raw = file.read(expected + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: not a whole gzip file ({error})") from None
    if len(raw) < header or raw[:4] != bytes((0, 0, _UNSIGNED_BYTE, len(shape))):
        raise InputError(f"{path}: not an idx file of unsigned bytes with {len(shape)} dimensions")
    found = struct.unpack(f">{len(shape)}I", raw[4:header])
    if found != shape:
        raise InputError(f"{path}: holds {_times(found)} values, expected {_times(shape)}")
    if len(raw) != expected:
        state = "longer" if len(raw) > expected else f"cut short at {len(raw)} bytes"
        raise InputError(f"{path}: {state}, expected {expected} bytes for {_times(shape)} values")
    return np.frombuffer(raw, dtype=np.uint8, offset=header).reshape(shape)


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape)
