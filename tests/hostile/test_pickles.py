"""Pickles that are malformed, or that ask for more than they are worth."""

import struct
from pathlib import Path

import pytest

from tests.hostile.assembler import (
    EMPTY_DICT,
    FALSE,
    NONE,
    call,
    dictionary,
    integer,
    items,
    listed,
    load,
    state_dict,
    storage,
    tensor,
    text,
    tuple_,
)
from tests.hostile.bounded import MIB, each_opened, opened
from tests.hostile.files import THREE, Entry, archive, replaced, torch_legacy, torch_zip, write
from tests.hostile.refusals import read_all, refusal

DEEP = 100_000


def beside(body: bytes) -> list[Entry]:
    """Return a file whose state dict holds the value `body` beside its weight."""
    return torch_zip(state_dict(extra=body))


def raw(pickle: bytes) -> list[Entry]:
    return replaced(torch_zip(), "data.pkl", data=pickle)


MALFORMED = {
    "empty": (b"", "truncated"),
    "no STOP": (b"\x80\x02}", "truncated"),
    "STOP alone": (b".", "the stack is empty"),
    "protocol 6": (b"\x80\x06}.", "pickle protocol 6; accepted: at most 5"),
    "unknown opcode": (b"\x80\x02\xff.", "the opcode unknown (0xff)"),
    "a text": (b"hello", "no memo 101"),
    "no memo": (b"\x80\x02h\x05.", "no memo 5"),
    "memo of nothing": (b"\x80\x02q\x00.", "the stack is empty"),
    "REDUCE of nothing": (b"\x80\x02R.", "the stack is empty"),
    "TUPLE without MARK": (b"\x80\x02t.", "the stack is empty"),
    "a value below a MARK": (b"\x80\x02N(0a.", "the stack is empty"),
    "odd items": (b"\x80\x02}(Nu.", "a key without a value"),
    "items of None": (b"\x80\x02N(NNu.", "None is given items; accepted: a dictionary"),
    "append to None": (b"\x80\x02NNa.", "None is appended to"),
    "call of a text": (b"\x80\x02" + text("os.system") + b")R.", "a text is called"),
    "call without tuple": (b"\x80\x02" + load("builtins.dict") + b"NR.", "accepted: a tuple"),
    "call of a storage class": (b"\x80\x02" + load("torch.FloatStorage") + b")R.", "is called"),
    "state of None": (b"\x80\x02NNb.", "None is given a state"),
    "persistent None": (b"\x80\x02NQ.", "no weights found: it holds an object"),
    "persistent storage": (b"\x80\x02" + text("storage") + b"\x85Q.", "wrong persistent id"),
    "OBJ without a class": (b"\x80\x02(o.", "OBJ without a class"),
    "NEXT_BUFFER": (b"\x97.", "the opcode NEXT_BUFFER (0x97)"),
    "READONLY_BUFFER": (b"N\x98.", "the opcode READONLY_BUFFER (0x98)"),
    "global of numbers": (b"\x80\x04NN\x93.", "two texts"),
    "odd integer": (b"I1_0\n.", "a decimal integer is wanted"),
    "odd float": (b"Fx\n.", "a float is wanted"),
    "text without quotes": (b"Sabc\n.", "text without quotes"),
    "a number": (b"\x80\x02K\x05.", "no weights found: it holds an integer"),
    "a list": (b"\x80\x02].", "no weights found: it holds a list"),
    "an empty dictionary": (b"\x80\x02}.", "no weights found"),
    "a key that is half a character": (
        b"\x80\x02" + dictionary([(text("\ud800"), integer(1)), (text("a"), integer(2))]) + b".",
        'a dictionary with the keys ["a"] and 1 key that is no valid text',
    ),
    "None": (b"\x80\x02N.", "no weights found: it holds None"),
}


@pytest.mark.parametrize(("pickle", "why"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_pickles_are_refused(tmp_path: Path, pickle: bytes, why: str) -> None:
    assert why in refusal(write(tmp_path / "evil.pt", raw(pickle)))


LENGTHS = {
    "BINUNICODE": b"X\xff\xff\xff\xff",
    "BINUNICODE8": b"\x8d" + struct.pack("<Q", 2**62),
    "BINBYTES": b"B\xff\xff\xff\x7f",
    "BINBYTES8": b"\x8e" + struct.pack("<Q", 2**64 - 1),
    "BYTEARRAY8": b"\x96" + struct.pack("<Q", 2**40),
    "BINSTRING": b"T\xff\xff\xff\x7f",
    "LONG4": b"\x8b\xff\xff\xff\x7f",
    "LONG_BINPUT": b"Nr\xff\xff\xff\xff",
    "PUT": b"Np4294967295\n",
    "PUT beyond 64 bits": b"Np99999999999999999999\n",
}


@pytest.mark.parametrize("opcode", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_kilobyte_that_asks_for_gigabytes_gets_none(tmp_path: Path, opcode: bytes, legacy: bool) -> None:
    body = opcode + b"0" * 500
    data = torch_legacy(extra=body) if legacy else archive(beside(body))
    outcome = opened(write(tmp_path / "evil.pt", data), room=64 * MIB)
    assert outcome.text.startswith("InputError: ")
    assert "\n" not in outcome.text
    assert outcome.memory < 4 * MIB
    assert outcome.seconds < 1


def laughs(levels: int, width: int) -> bytes:
    """Return lists of lists that share their members: `width ** levels` values if anybody unfolds them."""
    body = listed(NONE) + b"q\x00"
    for n in range(levels):
        body += b"0" + listed(*[b"h" + bytes([n])] * width) + b"q" + bytes([n + 1])
    return body


def dict_laughs(levels: int) -> bytes:
    """Return dictionaries that hold the one before under many keys."""
    body = EMPTY_DICT + b"q\x00"
    for n in range(levels):
        held = b"h" + bytes([n])
        body += b"0" + dictionary({f"k{i}": held for i in range(8)}) + b"q" + bytes([n + 1])
    return body


def copies(count: int, size: int) -> bytes:
    """Return calls of `OrderedDict`, each of which copies a long list of pairs."""
    pair = b"(NNtq\x01"
    body = b"]q\x00(" + pair + b"h\x01" * (size - 1) + b"e"
    return body + b"".join(b"0" + call(load("collections.OrderedDict"), b"h\x00") for _ in range(count))


def _axes() -> bytes:
    """Put the function that makes a tensor in memo 3 and its arguments, of 64 axes, in memo 4."""
    ones = tuple_(*[integer(1)] * 64)
    hooks = call(load("collections.OrderedDict"))
    arguments = tuple_(storage("0", 3), integer(0), ones, ones, FALSE, hooks)
    return load("torch._utils._rebuild_tensor_v2") + b"q\x030" + arguments + b"q\x040"


ITSELF = {
    "a list": b"]q\x00h\x00a",
    "a dictionary": b"}q\x00" + items({"a": b"h\x00", "state_dict": b"h\x00"}),
    "a dictionary of lists": b"}q\x00" + items({"a": listed(b"h\x00", b"h\x00")}),
    "a tuple": b"]q\x00(h\x00h\x00ta",
}

BOMBS = {
    "lists in lists by marks": b"(" * DEEP + b"l" * DEEP,
    "lists in lists": b"]" * DEEP + b"a" * (DEEP - 1),
    "tuples in tuples": NONE + b"\x85" * DEEP,
    "dictionaries in dictionaries": b"".join([EMPTY_DICT, (text("a") + EMPTY_DICT) * DEEP, b"s" * DEEP]),
    "state dicts in state dicts": b"".join([(EMPTY_DICT + text("model")) * DEEP, NONE, b"s" * DEEP]),
    "laughing lists": laughs(60, 100),
    "laughing dictionaries": dict_laughs(60),
    "copied dictionaries": copies(20_000, 4_000),
    "marks": b"(" * 2_000_000,
    "empty lists": b"]" * 2_000_000 + b"0" * 1_999_999,
    "empty tuples": b"(" + b")" * 3_000_000 + b"t",
    "the same list": b"]q\x00" + b"h\x00" * 5_000_000,
    "one value many times": NONE + b"2" * 5_000_000,
    "one list appended to itself": b"]q\x00(" + b"h\x00" * 2_000_000 + b"e",
    "a long decimal": b"I" + b"9" * 5_000_000 + b"\n",
    "a long LONG": b"\x8b" + struct.pack("<I", 5_000_000) + b"\x7f" * 5_000_000,
    "many texts": b"(" + text("x") * 1_000_000 + b"l",
    "many keys": dictionary([(integer(n), NONE) for n in range(500_000)]),
    "many globals": b"(" + load("collections.OrderedDict") * 300_000 + b"l",
    "many states of one tensor": tensor(storage("0", 3), [3], [1]) + b"q\x010" + dictionary(
        {f"a{i}": NONE for i in range(64)}) + b"q\x020" + b"h\x01h\x02b0" * 10_000_000 + NONE,
    "many tensors of 64 axes": _axes() + b"h\x03h\x04R0" * 10_000_000 + NONE,
    "many objects": load("a.B") + b"q\x010" + b"h\x01)\x810" * 12_000_000 + NONE,
    "objects of objects": load("a.B") + b")R" * 2_000_000,
    "one object given much": load("a.B") + b")\x81q\x01" + b"h\x01b" * 12_000_000,
    "an object of long lists": b"](" + NONE * 100 + b"eq\x010](" + b"h\x01" * 4000 + b"eq\x020"
        + load("collections.OrderedDict") + b"q\x030" + b"(h\x02t0" * 1000 + b"h\x03)R0" * 1_000_000 + NONE,
    "names of objects": b"(" + b"".join(load(f"a.B{i}") for i in range(300_000)) + b"l",
    "long names": b"\x80\x04" + text("m" * 256) + b"q\x01" + text("n" * 256) + b"q\x02" + b"00"
        + b"h\x01h\x02\x930" * 3_900_000 + NONE,
    "many storages": b"(" + (b"(" + text("storage") + load("torch.FloatStorage") + text("0") + text("cpu")
                             + integer(3) + b"tQ") * 100_000 + b"l",
    **{f"{name} that holds itself": body for name, body in ITSELF.items()},
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_bombs_go_off_in_bounded_memory_and_time(tmp_path: Path, bomb: bytes) -> None:
    files = {
        "weights": beside(bomb),
        "optimizer": torch_zip(dictionary({"state_dict": state_dict(), "optimizer": bomb})),
        "unknown": torch_zip(dictionary({"state_dict": state_dict(), "parts": bomb})),
    }
    paths = [write(tmp_path / f"{name}.pt", data) for name, data in files.items()]
    outcomes = each_opened(*paths, room=600 * MIB)
    assert len(outcomes) == len(files)
    for outcome in outcomes:
        assert outcome.text == "read" or outcome.text.startswith(("InputError: ", "CodeError: "))
        assert "\n" not in outcome.text
        assert outcome.memory < 400 * MIB
        assert outcome.seconds < 5


REFUSED_BOMBS = {
    "lists in lists by marks": "nested deeper than 1000",
    "marks": "nested deeper than 1000",
    "copied dictionaries": "copies more than",
    "the same list": "stacks more than",
    "one value many times": "stacks more than",
}


@pytest.mark.parametrize(("name", "why"), REFUSED_BOMBS.items(), ids=REFUSED_BOMBS)
def test_bombs_that_cost_memory_are_refused(tmp_path: Path, name: str, why: str) -> None:
    assert why in refusal(write(tmp_path / "evil.pt", beside(BOMBS[name])))


def test_a_pickle_of_more_than_64_mib_is_refused_unread(tmp_path: Path) -> None:
    body = b"B" + struct.pack("<I", 70 * MIB) + bytes(70 * MIB)
    path = write(tmp_path / "evil.pt", beside(body))
    outcome = opened(path, room=64 * MIB)
    assert "accepted: at most" in outcome.text
    assert outcome.memory < 8 * MIB


def test_harmless_company_is_read(tmp_path: Path) -> None:
    """What the limits must not forbid: nested settings, shared lists, long integers, bytes."""
    company = {
        "nested": b"]" * 50 + b"a" * 49,
        "shared": b"]q\x00(h\x00h\x00h\x00e",
        "big": integer(2**200),
        "bytes": b"C\x03abc",
        "tuple": b"(NNNt",
        "namespace": load("argparse.Namespace")
        + b")\x81"
        + dictionary({"lr": b"G" + struct.pack(">d", 0.1)})
        + b"b",
    }
    for name, body in company.items():
        data = torch_zip(dictionary({"state_dict": state_dict(), "args": body}))
        assert read_all(write(tmp_path / f"{name}.pt", data)) == {"weight": THREE}, name
