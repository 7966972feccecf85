"""Torch files whose storage is a hole: kilobytes on disk, terabytes to whoever reads them."""

import struct
from pathlib import Path

from tests.hostile.assembler import dictionary, pickled, storage, tensor
from tests.hostile.files import Entry, archive

__all__ = ["hole"]


def hole(
    path: Path,
    shape: list[int],
    strides: list[int],
    numbers: int,
    first: bytes = b"",
    *,
    checksums: bool = False,
) -> Path:
    """Write a file with the one F32 tensor `weight`, a view of a storage of `numbers` beginning with `first`.

    Without `checksums`, nothing but the tensor asks for the storage.
    """
    crc = None if checksums else 0
    weight = tensor(storage("0", numbers), shape, strides)
    records = {"data.pkl": pickled(dictionary({"weight": weight})), "byteorder": b"little"}
    entries = [Entry(f"archive/{name}", data, crc=crc) for name, data in records.items()]
    size = 4 * numbers
    whole = archive([*entries, Entry("archive/data/0", b"", crc=crc, size=size)])
    length, begin = struct.unpack("<II", whole[-10:-2])
    directory = whole[begin : begin + length]
    end, count = begin + size, len(entries) + 1
    wide = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, length, end)
    locator = struct.pack("<IIQI", 0x07064B50, 0, end + length, 1)
    narrow = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, length, 0xFFFFFFFF, 0)
    with path.open("wb") as file:
        file.write(whole[:begin] + first)
        file.seek(end)
        file.write(directory + wide + locator + narrow)
    assert 512 * path.stat().st_blocks < 2**20, "the file system has no holes"
    return path
