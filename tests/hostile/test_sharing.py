"""Small files whose values are shared, so that each of many looks at all of a large one."""

import struct
import time
from pathlib import Path

import pytest

from pdiff import _core
from tests.hostile.assembler import (
    EMPTY_DICT,
    FALSE,
    NONE,
    built,
    call,
    dictionary,
    integer,
    load,
    state_dict,
    storage,
    tensor,
    text,
    tuple_,
)
from tests.hostile.bounded import MIB, opened
from tests.hostile.files import THREE, torch_zip, write
from tests.hostile.refusals import read_all, refusal

FLOAT = storage("0", 3)
REBUILD = load("torch._utils._rebuild_tensor_v2")
HOOKS = call(load("collections.OrderedDict"))


def put(body: bytes, memo: int) -> bytes:
    """Leave `body` in a memo, and nothing on the stack."""
    return body + b"q" + bytes([memo]) + b"0"


def with_metadata(pairs: int) -> bytes:
    """Return calls that all have one dictionary of metadata."""
    metadata = EMPTY_DICT + b"(" + (text("k") + FALSE) * pairs + b"u"
    sizes = tuple_(integer(3)), tuple_(integer(1))
    arguments = tuple_(FLOAT, integer(0), *sizes, FALSE, HOOKS, metadata)
    made = put(REBUILD, 0) + put(arguments, 1) + b"h\x00h\x01R0" * 50_000
    return made + dictionary({"w": b"h\x00h\x01R"})


def with_globals(module: str, name: str) -> bytes:
    """Return globals that all have one long name."""
    parts = put(text(module), 0) + put(text(name), 1)
    return parts + b"h\x00h\x01\x930" * 50_000 + state_dict()


SLOW = {
    "metadata": (with_metadata(100_000), 'the tensor "w" is rebuilt with wrong metadata'),
    "names of globals": (with_globals("datetime", "é" * 150_000), "read"),
    "modules of globals": (with_globals("omegaconf." + "é" * 150_000, "A"), "read"),
    "a long name": (
        dictionary({"n" * 20_000_000: tensor(FLOAT, [3], [1])}),
        "a key or name of 20000000 bytes",
    ),
}


@pytest.mark.parametrize(("body", "why"), SLOW.values(), ids=SLOW)
def test_what_is_shared_is_not_looked_at_again_and_again(tmp_path: Path, body: bytes, why: str) -> None:
    outcome = opened(write(tmp_path / "evil.pt", torch_zip(body)))
    assert why in outcome.text
    assert outcome.seconds < 1


def test_usual_metadata_are_accepted(tmp_path: Path) -> None:
    metadata = dictionary({"conj": FALSE, "neg": FALSE})
    body = dictionary({"w": tensor(FLOAT, [3], [1], 0, metadata)})
    assert read_all(write(tmp_path / "a.pt", torch_zip(body))) == {"w": THREE}


def test_ties_among_many_views_are_found_at_once(tmp_path: Path) -> None:
    count = 20_000
    views = put(storage("0", count + 2, "ByteStorage"), 0)
    body = {f"w{k}": tensor(b"h\x00", [2], [k + 1]) for k in range(count)}
    body["tied"] = tensor(b"h\x00", [2], [7])
    path = write(tmp_path / "a.pt", torch_zip(views + dictionary(body), {"0": bytes(count + 2)}))
    checkpoint = _core.Checkpoint([path])
    begin = time.process_time()
    ties = {t.name: t.tied_to for t in checkpoint.tensors if t.tied_to is not None}
    assert time.process_time() - begin < 1
    assert ties == {"tied": "w6"}


def aliases(count: int, floats: int) -> bytes:
    return put(tensor(storage("0", floats), [floats], [1]), 0) + dictionary(
        {f"layer.{k}": b"h\x00" for k in range(count)}
    )


def test_one_tensor_under_thousands_of_names_is_refused(tmp_path: Path) -> None:
    floats = 2**18
    path = write(tmp_path / "evil.pt", torch_zip(aliases(50_000, floats), {"0": bytes(4 * floats)}))
    why = refusal(path)
    assert "brings the tensors to" in why
    assert "under all their names" in why


def test_shared_layers_are_accepted(tmp_path: Path) -> None:
    floats = 2**18
    data = struct.pack("<f", 0.5) * floats
    path = write(tmp_path / "albert.pt", torch_zip(aliases(24, floats), {"0": data}))
    checkpoint = _core.Checkpoint([path])
    assert [t.tied_to for t in checkpoint.tensors] == [None] + ["layer.0"] * 23
    assert checkpoint.read_many(["layer.23", "layer.0"]) == [data, data]
    _core.write_checkpoint(tmp_path / "copy", checkpoint.origin)
    assert (tmp_path / "copy").stat().st_size > 24 * len(data)


def test_axes_of_one_element_cost_nothing(tmp_path: Path) -> None:
    size = 4_000_000
    shape = [2] + [1] * 30 + [size - 2] + [1] * 31
    strides = [1] + [0] * 30 + [1] + [0] * 31
    data = bytes(range(256)) * (size // 256)
    body = dictionary({"w": tensor(storage("0", size, "ByteStorage"), shape, strides)})
    path = write(tmp_path / "a.pt", torch_zip(body, {"0": data}))
    outcome = opened(path, room=64 * MIB)
    assert (outcome.text, outcome.seconds < 1) == ("read", True)
    assert read_all(path)["w"] == data[: size - 2] + data[1 : size - 1]


STATES = {
    "a tuple": (tuple_(FLOAT, integer(0), tuple_(integer(3)), tuple_(integer(1))), "a tuple is the state"),
    "a text": (text("x"), "a text is the state of a tensor; accepted: None or a dictionary"),
    "its data": (dictionary({"data": tensor(FLOAT, [3], [1])}), "state replaces what it holds"),
    "many attributes": (
        dictionary({f"k{n}": NONE for n in range(65)}),
        "65 attributes; accepted: at most 64",
    ),
}


@pytest.mark.parametrize(("state", "why"), STATES.values(), ids=STATES)
def test_a_state_cannot_change_a_tensor(tmp_path: Path, state: bytes, why: str) -> None:
    weight = tensor(FLOAT, [3], [1])
    assert why in refusal(write(tmp_path / "a.pt", torch_zip(dictionary({"w": built(weight, state)}))))
    subclass = call(
        load("torch._tensor._rebuild_from_type_v2"),
        REBUILD, load("torch.nn.parameter.Parameter"),
        tuple_(FLOAT, integer(0), tuple_(integer(3)), tuple_(integer(1)), FALSE, HOOKS), state,
    )  # fmt: skip
    message = refusal(write(tmp_path / "b.pt", torch_zip(dictionary({"w": subclass}))))
    assert why in message or "a tensor" in message


@pytest.mark.parametrize("state", [NONE, dictionary({"a": integer(1)})], ids=["None", "attributes"])
def test_attributes_of_a_tensor_are_left_out(tmp_path: Path, state: bytes) -> None:
    body = dictionary({"w": built(tensor(FLOAT, [3], [1]), state)})
    assert read_all(write(tmp_path / "a.pt", torch_zip(body))) == {"w": THREE}


def test_text_of_protocol_0_is_never_another_name(tmp_path: Path) -> None:
    weight = tensor(FLOAT, [3], [1])
    plain = write(tmp_path / "a.pt", torch_zip(b"}Vw\n" + weight + b"s"))
    assert read_all(plain) == {"w": THREE}
    for name in ("é".encode(), b"\xe9", rb"\u00e9"):
        path = write(tmp_path / "b.pt", torch_zip(b"}V" + name + b"\n" + weight + b"s"))
        assert "text of protocol 0" in refusal(path)
