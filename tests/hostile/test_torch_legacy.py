"""Malformed legacy streams around a good pickle: one for each rule of the container."""

from pathlib import Path

import pytest
import torch

from tests.hostile.assembler import FALSE, dictionary, pickled, storage, tensor
from tests.hostile.bounded import MIB, opened
from tests.hostile.files import THREE, legacy, torch_legacy, write
from tests.hostile.refusals import read_all, refusal

BODY = dictionary({"weight": tensor(storage("0", 3, legacy=True), [3], [1])})
STORED = ("0", 3, THREE)
GOOD = torch_legacy()


def test_the_builder_writes_what_torch_reads(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", GOOD)
    assert torch.equal(torch.load(path, weights_only=True)["weight"], torch.tensor([1.0, 2.0, 3.0]))
    assert read_all(path) == {"weight": THREE}


def weight(*arguments: object, numel: int = 3, kind: str = "FloatStorage") -> bytes:
    return dictionary({"weight": tensor(storage("0", numel, kind, legacy=True), *arguments)})  # type: ignore[arg-type]


STREAMS = {
    "another magic": (legacy(BODY, [STORED], magic=0x1950A86A20F9469CFC6D), "torch"),
    "another version": (legacy(BODY, [STORED], version=1002), "of another version; accepted: 1001"),
    "big-endian": (legacy(BODY, [STORED], little=FALSE), "not little-endian"),
    "no keys": (legacy(BODY, [STORED], keys=[]), "trailing bytes"),
    "no storages": (legacy(BODY, []), 'the storage "0" is not in the file'),
    "key twice": (legacy(BODY, [STORED, STORED]), 'the storage "0" is there twice'),
    "another key": (legacy(BODY, [STORED], keys=["1"]), "belongs to no tensor"),
    "one key more": (legacy(BODY, [STORED, ("1", 3, THREE)]), "belongs to no tensor"),
    "fewer elements announced": (legacy(BODY, [("0", 2, THREE)]), "announces 2 elements; accepted: 3"),
    "more elements announced": (legacy(BODY, [("0", 4, THREE)]), "announces 4 elements; accepted: 3"),
    "all elements announced": (legacy(BODY, [("0", 2**64 - 1, THREE)]), "elements; accepted: 3"),
    "fewer bytes": (legacy(BODY, [("0", 3, THREE[:8])]), 'truncated: the storage "0" takes 12 bytes'),
    "more bytes": (legacy(BODY, [("0", 3, THREE + b"x")]), "followed by trailing bytes"),
    "trailing pickle": (GOOD + pickled(b"N"), "followed by trailing bytes"),
    "view beyond": (legacy(weight([4], [1]), [STORED]), "reaches beyond its storage of 12 bytes"),
    "offset": (legacy(weight([3], [1], 1), [STORED]), "reaches beyond its storage"),
    "stride": (legacy(weight([3], [2]), [STORED]), "reaches beyond its storage"),
    "stride 0": (legacy(weight([10**9], [0]), [STORED]), "far more than the file has"),
    "a billion elements": (legacy(weight([10**9], [1], numel=10**9), [("0", 10**9, THREE)]), "truncated"),
    "a large storage": (legacy(weight([3], [1], numel=2**61), [("0", 2**61, THREE)]), "truncated"),
    "a storage beyond 64 bits": (legacy(weight([3], [1], numel=2**62), [STORED]), "wrong persistent id"),
    "another type": (legacy(weight([3], [1], kind="DoubleStorage"), [STORED]), "truncated"),
}


@pytest.mark.parametrize(("data", "why"), STREAMS.values(), ids=STREAMS)
def test_streams_hold_what_they_announce(tmp_path: Path, data: bytes, why: str) -> None:
    path = write(tmp_path / "evil.pt", data)
    outcome = opened(path, room=64 * MIB)
    assert outcome.text.startswith((f"InputError: {path}: ", f"CodeError: {path}: "))
    assert why in outcome.text
    assert outcome.memory < 8 * MIB
    assert outcome.seconds < 1


@pytest.mark.parametrize("length", range(1, len(GOOD), 5))
def test_every_truncation_is_refused(tmp_path: Path, length: int) -> None:
    refusal(write(tmp_path / "evil.pt", GOOD[:length]))


def test_views_of_one_storage_are_read(tmp_path: Path) -> None:
    state = {"weight": torch.arange(6.0)[2:5], "whole": torch.arange(6.0)}
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert read_all(tmp_path / "a.pt") == {name: value.numpy().tobytes() for name, value in state.items()}


def test_a_tar_archive_of_the_first_versions_is_named(tmp_path: Path) -> None:
    data = bytearray(1024)
    data[257:262] = b"ustar"
    assert "a tar archive" in refusal(write(tmp_path / "old.pt", bytes(data)))
