"""Files of every format, byte by byte, so that each part of them can be wrong."""

import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.hostile.assembler import dictionary, integer, listed, pickled, state_dict, storage, tensor, text

__all__ = [
    "THREE",
    "Entry",
    "archive",
    "deflated",
    "legacy",
    "replaced",
    "safetensors",
    "torch_legacy",
    "torch_zip",
]

THREE = struct.pack("<3f", 1.0, 2.0, 3.0)
"""The storage that `state_dict()` is a view of."""
_MAGIC = 0x1950A86A20F9469CFC6C
_WIDE = 0xFFFFFFFF


def safetensors(
    header: Mapping[str, Any] | bytes | str, data: bytes = b"", length: int | None = None
) -> bytes:
    """Return a safetensors file; `length` is what it announces for its header."""
    if isinstance(header, Mapping):
        header = json.dumps(header)
    if isinstance(header, str):
        header = header.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


@dataclass(frozen=True)
class Entry:
    """One entry of a zip archive; what is None is as it should be."""

    name: str
    data: bytes
    method: int = 0
    flags: int = 0
    crc: int | None = None
    size: int | None = None
    """Bytes that the directory announces."""
    stored: int | None = None
    """Bytes that the directory announces before decompression."""
    header: int | None = None
    """Where the directory says that the entry is."""
    local_name: str | None = None
    """Name in front of the data."""


def deflated(entry: Entry) -> Entry:
    """Return the entry compressed."""
    packer = zlib.compressobj(wbits=-15)
    data = packer.compress(entry.data) + packer.flush()
    return replace(
        entry, data=data, method=8, crc=zlib.crc32(entry.data), size=len(entry.data), stored=len(data)
    )


def archive(
    entries: Iterable[Entry], *, announced: int | None = None, begin: int | None = None, comment: bytes = b""
) -> bytes:
    """Return a zip archive; `announced` entries and the `begin` of the directory may be lies."""
    body, directory, count = bytearray(), bytearray(), 0
    for entry in entries:
        directory += _directory_entry(entry, len(body))
        body += _local_header(entry) + entry.data
        count += 1
    at = len(body) if begin is None else begin
    number = count if announced is None else announced
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, number, number, len(directory), at, len(comment))
    return bytes(body + directory) + end + comment


def _crc(entry: Entry) -> int:
    return zlib.crc32(entry.data) if entry.crc is None else entry.crc


@lru_cache(512)
def _local_header(entry: Entry) -> bytes:
    name = (entry.name if entry.local_name is None else entry.local_name).encode()
    size = len(entry.data)
    return (
        struct.pack(
            "<IHHHHHIIIHH",
            0x04034B50, 20, entry.flags, entry.method, 0, 0, _crc(entry), size, size, len(name), 0,
        )
        + name
    )  # fmt: skip


@lru_cache(512)
def _directory_entry(entry: Entry, at: int) -> bytes:
    name = entry.name.encode()
    size = len(entry.data) if entry.size is None else entry.size
    stored = size if entry.stored is None else entry.stored
    header = at if entry.header is None else entry.header
    wide = [value for value in (size, stored, header) if value >= _WIDE]
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    return (
        struct.pack(
            "<IHHHHHHIIIHHHHHII",
            0x02014B50, 20, 20, entry.flags, entry.method, 0, 0, _crc(entry),
            min(stored, _WIDE), min(size, _WIDE), len(name), len(extra), 0, 0, 0, 0, min(header, _WIDE),
        )
        + name
        + extra
    )  # fmt: skip


def torch_zip(
    body: bytes | None = None,
    storages: Mapping[str, bytes] | None = None,
    *,
    root: str = "archive",
    more: Mapping[str, bytes] | None = None,
) -> list[Entry]:
    """Return the entries that torch writes for the value `body` (opcodes) and its storages."""
    records = {"data.pkl": pickled(state_dict() if body is None else body), "byteorder": b"little"}
    records |= {f"data/{key}": data for key, data in ({"0": THREE} if storages is None else storages).items()}
    records |= {"version": b"3\n"} | dict(more or {})
    return [Entry(f"{root}/{name}", data) for name, data in records.items()]


def replaced(entries: Sequence[Entry], name: str, **fields: Any) -> list[Entry]:
    """Return the entries, that of the storage or record `name` with other fields."""
    assert any(entry.name.endswith(name) for entry in entries)
    return [replace(e, **fields) if e.name.endswith(name) else e for e in entries]


def legacy(
    body: bytes,
    storages: Sequence[tuple[str, int, bytes]],
    *,
    keys: Sequence[str] | None = None,
    magic: int = _MAGIC,
    version: int = 1001,
    little: bytes = b"\x88",
) -> bytes:
    """Return a legacy torch file of the value `body`; storages are key, announced elements and data."""
    sizes = dictionary({"short": integer(2), "int": integer(4), "long": integer(4)})
    facts = {"protocol_version": integer(1001), "little_endian": little, "type_sizes": sizes}
    names = [key for key, _, _ in storages] if keys is None else keys
    pickles = (integer(magic), integer(version), dictionary(facts), body, listed(*map(text, names)))
    data = (struct.pack("<Q", count) + content for _, count, content in storages)
    return b"".join(map(pickled, pickles)) + b"".join(data)


def torch_legacy(**beside: bytes) -> bytes:
    """Return `state_dict()` as a legacy file."""
    weight = tensor(storage("0", 3, legacy=True), [3], [1])
    return legacy(dictionary({"weight": weight, **beside}), [("0", 3, THREE)])


def write(path: Path, data: bytes | Sequence[Entry]) -> Path:
    """Write a file, or the archive of entries, and return its path."""
    path.write_bytes(data if isinstance(data, bytes) else archive(data))
    return path
