"""`python -m tests.hostile.mutate COUNT SEED SEEDS FILE`: read COUNT mutations of the valid files in SEEDS.

Runs apart, without torch, under a limit of memory and an alarm; prints what happened as JSON. The mutation
that ends it is left in FILE.
"""

import io
import json
import os
import random
import re
import resource
import signal
import struct
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pdiff import _core
from tests.hostile.files import Entry, archive

ROOM = 1536 * 2**20
SECONDS = 20
"""An alarm ends the process if this many seconds bring it no further."""
BYTES = bytes(
    [0, 1, 2, 4, 0x7F, 0x80, 0x81, 0xFE, 0xFF, *b"().0123Rbcdeghjqstu}]{\"',:[\x85\x86\x87\x8a\x93\x94Q"]
)
INTEGERS = [
    0,
    1,
    3,
    127,
    128,
    255,
    256,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**63 - 1,
    2**64 - 1,
]

Mutate = Callable[[random.Random, bytearray, bytes], None]


def flip(rng: random.Random, data: bytearray, _: bytes) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def interesting(rng: random.Random, data: bytearray, _: bytes) -> None:
    data[rng.randrange(len(data))] = rng.choice(BYTES)


def number(rng: random.Random, data: bytearray, _: bytes) -> None:
    size, value = rng.choice((2, 4, 8)), rng.choice(INTEGERS)
    at = rng.randrange(len(data))
    data[at : at + size] = struct.pack("<Q", value)[:size]


def digits(rng: random.Random, data: bytearray, _: bytes) -> None:
    """Put another number in the place of a decimal one, which JSON has many of."""
    found = [m.span() for m in re.finditer(rb"\d+", data)]
    if found:
        begin, end = rng.choice(found)
        data[begin:end] = str(rng.choice(INTEGERS)).encode()


def cut(rng: random.Random, data: bytearray, _: bytes) -> None:
    del data[rng.randrange(len(data)) :]


def insert(rng: random.Random, data: bytearray, _: bytes) -> None:
    at = rng.randrange(len(data))
    data[at:at] = bytes(rng.choice(BYTES) for _ in range(rng.randrange(1, 9)))


def span(rng: random.Random, data: bytes | bytearray) -> slice:
    begin = rng.randrange(len(data))
    return slice(begin, begin + 1 + int(rng.expovariate(1 / 16)))


def delete(rng: random.Random, data: bytearray, _: bytes) -> None:
    del data[span(rng, data)]


def duplicate(rng: random.Random, data: bytearray, _: bytes) -> None:
    copied = span(rng, data)
    at = rng.choice((copied.start, rng.randrange(len(data))))
    data[at:at] = data[copied] * rng.choice((1, 1, 1, 2, 50))


def overwrite(rng: random.Random, data: bytearray, other: bytes) -> None:
    part = other[span(rng, other)]
    at = rng.randrange(len(data))
    data[at : at + len(part)] = part


def splice(rng: random.Random, data: bytearray, other: bytes) -> None:
    data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]


OPERATIONS: list[Mutate] = [
    flip, flip, interesting, interesting, number, number, digits,
    insert, delete, duplicate, overwrite, cut, splice,
]  # fmt: skip


def mutated(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Return `data` after one to four operations."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        if changed:
            rng.choice(OPERATIONS)(rng, changed, other)
    return bytes(changed)


class Seed:
    """A valid file, and its part that holds the description of the tensors."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.entries: list[Entry] = []
        if data.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(data)) as file:
                self.entries = [Entry(name, file.read(name)) for name in file.namelist()]
            self.inner = next(e.data for e in self.entries if e.name.endswith("/data.pkl"))
        else:
            size = int.from_bytes(data[:8], "little")
            self.inner = data[8 : 8 + size] if size < len(data) else data

    def around(self, inner: bytes) -> bytes:
        """Return the file with another description and everything else right: lengths, places, checksums."""
        if self.entries:
            return archive(Entry(e.name, inner) if e.name.endswith("/data.pkl") else e for e in self.entries)
        if self.inner is self.data:
            return inner
        return struct.pack("<Q", len(inner)) + inner + self.data[8 + len(self.inner) :]


def read(path: str) -> str:
    """Open a file and read two of its tensors; return `read`, or the kind of refusal."""
    try:
        checkpoint = _core.Checkpoint([path])
        for tensor in checkpoint.tensors[:2]:
            checkpoint.read(tensor.name)
    except _core.InputError as error:
        message = str(error)
        assert "\n" not in message, message
        return re.sub(r'"[^"]*"|[\d.]+|\[[^]]*\]', "_", message[len(path) :])
    return "read"


def memory(field: str) -> int:
    """Return a size of this process, in bytes; `ru_maxrss` would be that of its parent too."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{field}:")[1].split()[0])


def main(count: int, seed: int, folder: Path, path: str) -> None:
    """Read `count` mutations and print what became of them."""
    seeds = [Seed(file.read_bytes()) for file in sorted(folder.iterdir())]
    rng = random.Random(seed)
    _core.open_checkpoints([])  # the threads, which take address space, are there before it is limited
    size = memory("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    for index in range(count):
        if index % 256 == 0:
            signal.alarm(SECONDS)
        one, other = rng.choice(seeds), rng.choice(seeds)
        if index % 2:
            data = one.around(mutated(rng, one.inner, other.inner))
        else:
            data = mutated(rng, one.data, other.data)
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))
        begin = time.monotonic()
        outcomes[read(path)] += 1
        slowest = max(slowest, time.monotonic() - begin)
    accepted = outcomes.pop("read", 0)
    report = {"accepted": accepted, "refused": outcomes.total(), "slowest": slowest, "peak": memory("VmHWM")}
    print(json.dumps({**report, "causes": outcomes.most_common()}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
