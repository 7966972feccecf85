"""Messages about hostile files: short, on one line, and with advice only where it helps."""

import struct
from pathlib import Path

import pytest

from pdiff import _core
from tests.hostile.assembler import call, dictionary, load, pickled, storage, tensor, text
from tests.hostile.files import archive, legacy, safetensors, torch_zip, write
from tests.hostile.refusals import refusal

BIG = "n" * 20_000_000
ESC = "\x1b[2Jall is well\r\nreally"


def entry(**fields: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | fields


LONG = {
    "a name": safetensors({BIG: entry(dtype="F99")}, bytes(4)),
    "a dtype": safetensors({"a": entry(dtype=BIG)}, bytes(4)),
    "a field": safetensors({"a": entry(**{BIG: "x"})}, bytes(4)),
    "a wrong type": safetensors({"a": BIG}),
    "control characters": safetensors({ESC: entry(dtype=ESC)}, bytes(4)),
    "control characters in a wrong type": safetensors({"a": ESC}),
}


@pytest.mark.parametrize("data", LONG.values(), ids=LONG)
def test_messages_are_short_and_printable(tmp_path: Path, data: bytes) -> None:
    why = refusal(write(tmp_path / "evil.safetensors", data))
    assert len(why) <= 500
    assert why.isprintable()


SYSTEM = call(load("os.system"), text("true"))
CODE = {
    "a global": torch_zip(dictionary({"state_dict": SYSTEM})),
    "a global of a legacy file": legacy(dictionary({"state_dict": SYSTEM}), []),
    "TorchScript": torch_zip(more={"constants.pkl": b"", "code/a.py": b""}),
    "a pickle of something else": pickled(dictionary({"network": SYSTEM})),
}
NO_CODE = {
    "no file": b"",
    "text": b"hello, world",
    "a git-LFS pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "a view that is too long": torch_zip(dictionary({"w": tensor(storage("0", 3), [9], [1])})),
    "no weights": torch_zip(dictionary({})),
    "a malformed pickle": torch_zip(b"R"),
    "a pickle of plain values": pickled(dictionary({})),
    "a pickle that is cut short": pickled(dictionary({"network": SYSTEM}))[:-4],
    "a pickle that is nested too deeply": pickled(SYSTEM + b"(" * 2000),
    "a pickle with a code that holds no data": pickled(SYSTEM + b"\x97"),
    "damage": archive(torch_zip(dictionary({"state_dict": SYSTEM}))).replace(b"system", b"systen", 1),
    "zeros": bytes(1000),
    "zeros in place of a header": struct.pack("<Q", 90_000_000) + bytes(1000),
    "an empty archive": b"PK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize("data", CODE.values(), ids=CODE)
def test_code_is_an_error_of_its_own_with_a_way_out(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(_core.CodeError, match="accepted: .* pdiff convert --i-trust-this-file$"):
        _core.Checkpoint([write(tmp_path / "evil.pt", data)])


@pytest.mark.parametrize("data", NO_CODE.values(), ids=NO_CODE)
def test_other_refusals_do_not_speak_of_trust(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(_core.InputError) as info:
        _core.Checkpoint([write(tmp_path / "bad.pt", data)])
    assert type(info.value) is _core.InputError
    assert "trust" not in str(info.value)
