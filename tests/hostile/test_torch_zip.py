"""Malformed zip archives around a good pickle: one for each rule of the container."""

import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pdiff import _core
from tests.hostile.assembler import call, dictionary, load, state_dict, storage, tensor
from tests.hostile.bounded import MIB, opened
from tests.hostile.files import THREE, Entry, archive, deflated, replaced, torch_zip, write
from tests.hostile.refusals import read_all, refusal

STORAGE, PICKLE = "data/0", "data.pkl"


def find(entries: list[Entry], name: str) -> Entry:
    return next(entry for entry in entries if entry.name.endswith(name))


def test_the_builder_writes_what_torch_reads(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", torch_zip())
    assert torch.equal(torch.load(path, weights_only=True)["weight"], torch.tensor([1.0, 2.0, 3.0]))
    assert read_all(path) == {"weight": THREE}
    assert read_all(write(tmp_path / "b.pt", torch_zip(root="any name"))) == {"weight": THREE}


def packed(entries: list[Entry], name: str) -> list[Entry]:
    return [deflated(entry) if entry.name.endswith(name) else entry for entry in entries]


ENTRIES: dict[str, tuple[Callable[[list[Entry]], list[Entry]], str]] = {
    "deflated storage": (lambda e: packed(e, STORAGE), "compressed (method 8)"),
    "deflated pickle": (lambda e: packed(e, PICKLE), "compressed (method 8)"),
    "deflated version": (lambda e: packed(e, "version"), "compressed (method 8)"),
    "bzip2": (lambda e: replaced(e, STORAGE, method=12), "compressed (method 12)"),
    "encrypted": (lambda e: replaced(e, STORAGE, flags=1), "is encrypted"),
    "storage twice": (lambda e: [*e, find(e, STORAGE)], '"archive/data/0" is there twice'),
    "pickle twice": (lambda e: [*e, replace(find(e, PICKLE), data=b"cos\nsystem\n.")], "is there twice"),
    "two pickles": (lambda e: [*e, Entry("other/data.pkl", find(e, PICKLE).data)], "two entries data.pkl"),
    "CRC of the storage": (lambda e: replaced(e, STORAGE, crc=1), "is damaged: its CRC-32 is"),
    "CRC of the pickle": (lambda e: replaced(e, PICKLE, crc=1), '"archive/data.pkl" is damaged'),
    "CRC of the byte order": (lambda e: replaced(e, "byteorder", crc=1), '"archive/byteorder" is damaged'),
    "storage longer": (lambda e: replaced(e, STORAGE, data=THREE + bytes(4)), "has 16 bytes"),
    "storage shorter": (lambda e: replaced(e, STORAGE, data=THREE[:8]), "has 8 bytes"),
    "no storage": (lambda e: [x for x in e if not x.name.endswith(STORAGE)], 'the storage "0" is not in'),
    "no pickle": (lambda e: [x for x in e if not x.name.endswith(PICKLE)], "without data.pkl"),
    "pickle too deep": (lambda e: [replace(x, name=f"a/{x.name}") for x in e], "without data.pkl"),
    "pickle at the top": (lambda e: [replace(x, name=Path(x.name).name) for x in e], "without data.pkl"),
    "announced too small": (lambda e: replaced(e, STORAGE, size=8), "bytes"),
    "announced too large": (lambda e: replaced(e, STORAGE, size=1000), "reaches beyond byte"),
    "announced 4 GiB": (lambda e: replaced(e, STORAGE, size=2**32), "reaches beyond byte"),
    "announced 2^63": (lambda e: replaced(e, STORAGE, size=2**63), "reaches beyond byte"),
    "announced all": (lambda e: replaced(e, STORAGE, size=2**64 - 1), "reaches beyond byte"),
    "pickle announced all": (lambda e: replaced(e, PICKLE, size=2**64 - 1), "reaches beyond byte"),
    "two sizes": (lambda e: replaced(e, STORAGE, stored=5), "is stored in 5 bytes but announces 12"),
    "beyond the file": (lambda e: replaced(e, STORAGE, header=10_000), "reaches beyond byte"),
    "far beyond the file": (lambda e: replaced(e, STORAGE, header=2**64 - 1), "reaches beyond byte"),
    "in the directory": (lambda e: replaced(e, "version", header=len(archive(e)) - 60), "byte"),
    "on another entry": (lambda e: replaced(e, STORAGE, header=0), "byte"),
    "inside another entry": (lambda e: replaced(e, STORAGE, header=50), "byte"),
    "another name": (lambda e: replaced(e, STORAGE, local_name="archive/data/1"), "malformed header"),
    "big-endian": (lambda e: replaced(e, "byteorder", data=b"big"), 'byte order "big"; accepted: "little"'),
    "byte order of lines": (lambda e: replaced(e, "byteorder", data=b"li\ntle"), "byte order"),
    "long byte order": (lambda e: replaced(e, "byteorder", data=b"x" * 10_000), "accepted: at most"),
    "TorchScript": (lambda e: [*e, Entry("archive/code/__torch__.py", b"")], "TorchScript, which holds code"),
    "constants": (lambda e: [*e, Entry("archive/constants.pkl", b"")], "TorchScript, which holds code"),
    "NumPy": (lambda e: [Entry("weight.npy", b"\x93NUMPY")], "NumPy archive"),
    "nothing": (lambda e: [], "an empty zip archive"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "why"), ENTRIES.values(), ids=ENTRIES)
def test_entries_are_stored_whole_and_once(
    tmp_path: Path, change: Callable[[list[Entry]], list[Entry]], why: str
) -> None:
    message = refusal(write(tmp_path / "evil.pt", change(torch_zip())))
    assert why in message


GOOD = archive(torch_zip())
END = len(GOOD) - 22
ENDS = {
    "announces more entries": (archive(torch_zip(), announced=5), "zip directory"),
    "announces fewer entries": (archive(torch_zip(), announced=3), "zip directory"),
    "announces 65534 entries": (archive(torch_zip(), announced=65534), "zip directory of 65534 entries"),
    "a directory at 0": (archive(torch_zip(), begin=0), "its directory is not where"),
    "a directory at 4 GiB": (archive(torch_zip(), begin=2**32 - 1), "its directory is not where"),
    "trailing bytes": (GOOD + b"x", "truncated zip archive: no end record"),
    "trailing archive": (GOOD + GOOD[END:], "its directory is not where"),
    "bytes in front": (b"PK\x03\x04" + GOOD, "its directory is not where"),
    "no end": (GOOD[:-1], "truncated zip archive: no end record"),
    "half": (GOOD[: len(GOOD) // 2], "truncated zip archive"),
    "the beginning": (GOOD[:40], "truncated zip archive"),
    "several disks": (GOOD[:END] + GOOD[END:].replace(b"\5\6\0\0", b"\5\6\1\0"), "in several parts"),
    "a false end in the comment": (archive(torch_zip(), comment=GOOD[END:]), "zip archive"),
    "a zip64 record that lies": (
        GOOD[:END]
        + struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, 2**40, 2**40, 2**60, 0)
        + struct.pack("<IIQI", 0x07064B50, 0, END, 1)
        + GOOD[END:],
        "zip",
    ),
    "a zip64 locator to nowhere": (
        GOOD[:END] + struct.pack("<IIQI", 0x07064B50, 0, 2**63, 1) + GOOD[END:], "zip"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "why"), ENDS.values(), ids=ENDS)
def test_the_end_of_the_archive_must_be_true(tmp_path: Path, data: bytes, why: str) -> None:
    message = refusal(write(tmp_path / "evil.pt", data))
    assert why in message


@pytest.mark.parametrize("length", range(4, len(GOOD), 7))
def test_every_truncation_is_refused(tmp_path: Path, length: int) -> None:
    assert "zip" in refusal(write(tmp_path / "evil.pt", GOOD[:length]))


BILLION = 10**9
VIEWS = {
    "stride 0": (tensor(storage("0", 3), [BILLION], [0]), "far more than the file has"),
    "stride 0 on each axis": (tensor(storage("0", 3), [2**15, 2**15], [0, 0]), "far more than the file has"),
    "large storage": (tensor(storage("0", BILLION), [BILLION], [1]), "bytes in the zip archive"),
    "largest storage": (tensor(storage("0", 2**61), [2**61], [1]), "overflows"),
    "too many bytes": (tensor(storage("0", 3), [2**62], [0]), "overflows"),
    "storage beyond 64 bits": (tensor(storage("0", 2**62), [3], [1]), "wrong persistent id"),
    "shape overflows": (tensor(storage("0", 3), [2**40, 2**40], [0, 0]), "overflows"),
    "beyond the end": (tensor(storage("0", 3), [4], [1]), "reaches beyond its storage of 12 bytes"),
    "offset": (tensor(storage("0", 3), [3], [1], 1), "reaches beyond its storage of 12 bytes"),
    "large offset": (tensor(storage("0", 3), [1], [1], 2**62), "reaches beyond its storage"),
    "offset beyond 64 bits": (tensor(storage("0", 3), [1], [1], 2**64), 'is rebuilt at a wrong offset'),
    "stride": (tensor(storage("0", 3), [2], [3]), "reaches beyond its storage of 12 bytes"),
    "large stride": (tensor(storage("0", 3), [3], [2**63 - 1]), "reaches beyond its storage"),
    "negative stride": (tensor(storage("0", 3), [3], [-1], 2), '"weight" is rebuilt with wrong strides'),
    "negative size": (tensor(storage("0", 3), [-3], [1]), '"weight" is rebuilt with a wrong shape'),
    "negative offset": (tensor(storage("0", 3), [1], [1], -1), '"weight" is rebuilt at a wrong offset'),
    "negative storage": (tensor(storage("0", -3), [3], [1]), "wrong persistent id"),
    "fewer strides": (tensor(storage("0", 3), [1, 3], [1]), '"weight" is rebuilt with wrong strides'),
    "65 axes": (tensor(storage("0", 3), [1] * 65, [1] * 65), '"weight" is rebuilt with a wrong shape'),
    "another type": (tensor(storage("0", 3, "DoubleStorage"), [3], [1]), "bytes in the zip archive"),
    "no such type": (tensor(storage("0", 3, "PickleStorage"), [3], [1]), 'global "torch.PickleStorage"'),
    "a path as key": (tensor(storage("../data.pkl", 3), [3], [1]), "is not in the zip archive"),
    "a record as key": (tensor(storage("../byteorder", 3), [3], [1]), "is not in the zip archive"),
    "quantised": (call(load("torch._utils._rebuild_qtensor")), "is quantised"),
    "sparse": (call(load("torch._utils._rebuild_sparse_tensor")), "is sparse"),
    "meta": (call(load("torch._utils._rebuild_meta_tensor_no_storage")), "is on the meta device"),
}  # fmt: skip


@pytest.mark.parametrize(("weight", "why"), VIEWS.values(), ids=VIEWS)
def test_views_stay_inside_their_storage_and_in_proportion_to_the_file(
    tmp_path: Path, weight: bytes, why: str
) -> None:
    path = write(tmp_path / "evil.pt", torch_zip(dictionary({"weight": weight})))
    outcome = opened(path, room=64 * MIB)
    assert outcome.text.startswith((f"InputError: {path}: ", f"CodeError: {path}: "))
    assert why in outcome.text
    assert outcome.memory < 8 * MIB
    assert outcome.seconds < 1


def test_many_views_of_one_storage_are_bounded_together(tmp_path: Path) -> None:
    mega = bytes(4 * 2**20)
    views = {f"w{i}": tensor(storage("0", 2**20), [2**20 - i], [1]) for i in range(100)}
    path = write(tmp_path / "evil.pt", torch_zip(dictionary(views), {"0": mega}))
    outcome = opened(path, room=64 * MIB)
    assert "far more than the file has" in outcome.text


def test_two_sizes_of_one_storage_are_refused(tmp_path: Path) -> None:
    other = tensor(storage("0", 6, "HalfStorage"), [6], [1])
    message = refusal(write(tmp_path / "evil.pt", torch_zip(state_dict(b=tensor(storage("0", 2), [2], [1])))))
    assert 'the storage "0"' in message
    assert read_all(write(tmp_path / "a.pt", torch_zip(state_dict(half=other))))["half"] == THREE


def test_a_large_comment_or_directory_is_no_burden(tmp_path: Path) -> None:
    assert read_all(write(tmp_path / "a.pt", archive(torch_zip(), comment=b"PK" * 32_000))) == {
        "weight": THREE
    }
    many = {f"extra/{i}": b"" for i in range(60_000)}
    outcome = opened(write(tmp_path / "b.pt", torch_zip(more=many)), room=128 * MIB)
    assert outcome.text == "read"
    assert outcome.seconds < 2


def test_archives_without_checksums_are_read(tmp_path: Path) -> None:
    state = {"a": torch.arange(5.0), "b": torch.ones(2, 2, dtype=torch.bfloat16)}
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_all(tmp_path / "a.pt")["a"] == state["a"].numpy().tobytes()


def wrapped(path: Path, method: int, policy: bytes) -> Path:
    """Write an archive as Stable-Baselines3 does."""
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in {"data": b"{}", "policy.optimizer.pth": policy, "policy.pth": policy}.items():
            with file.open(name, "w", force_zip64=True) as entry:
                entry.write(data)
        file.writestr("_stable_baselines3_version", "2.3.0")
    return path


def saved(path: Path, state: object) -> bytes:
    torch.save(state, path)
    return path.read_bytes()


def test_the_file_in_an_archive_of_stable_baselines3_is_read(tmp_path: Path) -> None:
    state = {"mlp.weight": torch.arange(6.0).reshape(2, 3).T, "mlp.bias": torch.ones(2), "a": np.arange(3.0)}
    path = wrapped(tmp_path / "a.zip", zipfile.ZIP_STORED, saved(tmp_path / "policy.pth", state))
    content = {"mlp.weight": state["mlp.weight"].contiguous(), "mlp.bias": state["mlp.bias"], "a": state["a"]}
    assert read_all(path) == {name: np.asarray(value).tobytes() for name, value in content.items()}
    checkpoint = _core.Checkpoint([path])
    assert checkpoint.format == "torch"
    assert checkpoint.origin.open().read("mlp.bias") == np.ones(2, dtype="f4").tobytes()


def test_damage_in_the_inner_file_is_noticed(tmp_path: Path) -> None:
    data = saved(tmp_path / "policy.pth", {"w": torch.full((64,), 1.5)})
    path = wrapped(tmp_path / "a.zip", zipfile.ZIP_STORED, data)
    whole = bytearray(path.read_bytes())
    at = whole.rindex(torch.full((64,), 1.5).numpy().tobytes())  # the optimiser's file comes first
    whole[at] ^= 1
    path.write_bytes(whole)
    assert "its CRC-32 is" in refusal(path)
    for size in range(0, len(data), 97):
        refusal(wrapped(tmp_path / "b.zip", zipfile.ZIP_STORED, data[:size]))
    twice = wrapped(tmp_path / "c.zip", zipfile.ZIP_STORED, path.read_bytes())
    assert "without data.pkl" in refusal(twice)


def test_a_compressed_inner_file_is_named_with_a_way_out(tmp_path: Path) -> None:
    data = saved(tmp_path / "policy.pth", {"w": torch.ones(64)})
    path = wrapped(tmp_path / "a.zip", zipfile.ZIP_DEFLATED, data)
    message = refusal(path)
    assert '"policy.pth" is compressed' in message
    assert "unzip FILE policy.pth" in message
