"""A small assembler of pickles, so that a test can write any of them without torch.

Each function returns the opcodes that leave one value on the stack; `pickled` makes a whole pickle of one.
"""

import struct
from collections.abc import Iterable, Mapping

__all__ = [
    "built",
    "call",
    "dictionary",
    "glob",
    "integer",
    "items",
    "listed",
    "load",
    "pickled",
    "state_dict",
    "storage",
    "tensor",
    "text",
    "tuple_",
]

EMPTY_DICT = b"}"
FALSE, TRUE, NONE = b"\x89", b"\x88", b"N"


def pickled(body: bytes, protocol: int = 2) -> bytes:
    """Return the pickle of one value."""
    return bytes([0x80, protocol]) + body + b"."


def text(value: str) -> bytes:
    """`BINUNICODE`."""
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value: int) -> bytes:
    """`BININT`, or `LONG1` beyond 32 bits."""
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def glob(module: str, name: str) -> bytes:
    """`GLOBAL`: a class or function by its name."""
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def load(name: str) -> bytes:
    """`GLOBAL` of a dotted name, as in `os.system`."""
    return glob(*name.rsplit(".", 1))


def tuple_(*values: bytes) -> bytes:
    """`MARK` … `TUPLE`."""
    return b"(" + b"".join(values) + b"t"


def listed(*values: bytes) -> bytes:
    """`EMPTY_LIST` and its values."""
    return b"](" + b"".join(values) + b"e"


def dictionary(entries: Mapping[str, bytes] | Iterable[tuple[bytes, bytes]]) -> bytes:
    """`EMPTY_DICT` and its entries; the keys are texts if they are `str`."""
    return EMPTY_DICT + items(entries)


def items(entries: Mapping[str, bytes] | Iterable[tuple[bytes, bytes]]) -> bytes:
    """`MARK` … `SETITEMS`, for the dictionary on the stack."""
    pairs = [(text(k), v) for k, v in entries.items()] if isinstance(entries, Mapping) else entries
    return b"(" + b"".join(key + value for key, value in pairs) + b"u"


def call(function: bytes, *arguments: bytes) -> bytes:
    """`REDUCE`."""
    return function + tuple_(*arguments) + b"R"


def built(value: bytes, state: bytes) -> bytes:
    """`BUILD`: a value that is given a state."""
    return value + state + b"b"


def storage(key: str, numel: int, kind: str = "FloatStorage", *, legacy: bool = False) -> bytes:
    """Return the persistent id of a storage; legacy files have a place for a view in it."""
    view = (NONE,) if legacy else ()
    return tuple_(text("storage"), glob("torch", kind), text(key), text("cpu"), integer(numel), *view) + b"Q"


def tensor(
    stored: bytes, shape: Iterable[int], stride: Iterable[int], offset: int = 0, *hooks: bytes
) -> bytes:
    """Return a call of `torch._utils._rebuild_tensor_v2`."""
    none = call(load("collections.OrderedDict"))
    sizes, steps = (tuple_(*map(integer, axes)) for axes in (shape, stride))
    return call(
        load("torch._utils._rebuild_tensor_v2"),
        stored, integer(offset), sizes, steps, FALSE, none, *hooks,
    )  # fmt: skip


def state_dict(**beside: bytes) -> bytes:
    """Return `{"weight": 3 floats of storage "0"}`, the smallest state dict, with other entries behind it."""
    return dictionary({"weight": tensor(storage("0", 3), [3], [1]), **beside})
