"""Kept predictions: found again by content, whole or not at all, in bounded space."""

import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest
import torch

from pdiff import _core
from pdiff.evaluation.prediction import Prediction
from pdiff.evaluation.store import Store, default_folder

CONTEXT = "c" * 64


def key(number: int) -> str:
    return _core.digest(str(number).encode())


def payload(number: int) -> bytes:
    return random.Random(number).randbytes(number % 97)


@pytest.fixture
def warnings() -> list[str]:
    return []


def records(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.records"))


def test_records_are_found_again_by_another_process(tmp_path: Path, warnings: list[str]) -> None:
    first = Store(tmp_path, CONTEXT, warnings.append)
    for number in range(50):
        first.put(key(number), payload(number))
        assert first.get(key(number)) == payload(number)
    second = Store(tmp_path, CONTEXT, warnings.append)
    assert len(second) == 50
    assert [second.get(key(number)) for number in range(50)] == [payload(n) for n in range(50)]
    assert second.get(key(50)) is None
    assert Store(tmp_path, "d" * 64, warnings.append).get(key(0)) is None
    assert warnings == []


def test_a_file_cut_anywhere_loses_only_its_tail(tmp_path: Path, warnings: list[str]) -> None:
    store = Store(tmp_path, CONTEXT, warnings.append)
    for number in range(5):
        store.put(key(number), payload(number))
    (file,) = records(tmp_path)
    whole = file.read_bytes()
    ends = [0]
    for number in range(5):
        ends.append(ends[-1] + 8 + 64 + 8 + len(payload(number)) + 64)
    assert ends[-1] == len(whole)
    for cut in sorted({*range(0, len(whole) + 1, 11), *ends, *(end - 1 for end in ends[1:])}):
        file.write_bytes(whole[:cut])
        found = Store(tmp_path, CONTEXT, warnings.append)
        there = sum(end <= cut for end in ends[1:])
        assert [found.get(key(n)) for n in range(5)] == [payload(n) if n < there else None for n in range(5)]


def test_a_damaged_byte_gives_the_old_record_or_none(tmp_path: Path, warnings: list[str]) -> None:
    store = Store(tmp_path, CONTEXT, warnings.append)
    for number in range(3, 6):
        store.put(key(number), payload(number))
    (file,) = records(tmp_path)
    whole = file.read_bytes()
    for place in range(0, len(whole), 5):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = Store(tmp_path, CONTEXT, warnings.append)
        values = [found.get(key(number)) for number in range(3, 6)]
        assert all(value in (payload(n), None) for n, value in zip(range(3, 6), values, strict=True))
        assert None in values
    file.write_bytes(whole[:90] + bytes([whole[90] ^ 1]) + whole[91:])
    again = Store(tmp_path, CONTEXT, warnings.append)
    again.put(key(3), payload(3))
    assert Store(tmp_path, CONTEXT, warnings.append).get(key(3)) == payload(3)


def fill(folder: Path, first: int) -> None:
    store = Store(folder, CONTEXT, print)
    for number in range(first, first + 300):
        store.put(key(number), payload(number))


def test_two_processes_write_at_once(tmp_path: Path, warnings: list[str]) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fill, args=(tmp_path, first)) for first in (0, 200)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    store = Store(tmp_path, CONTEXT, warnings.append)
    assert len(records(tmp_path)) == 2
    assert [store.get(key(number)) for number in range(500)] == [payload(n) for n in range(500)]


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path, warnings: list[str]) -> None:
    (tmp_path / "predictions").write_text("a file where the folder should be")
    store = Store(tmp_path, CONTEXT, warnings.append)
    for number in range(3):
        store.put(key(number), payload(number))
        assert store.get(key(number)) is None
    assert len(warnings) == 1
    assert "predictions are not kept" in warnings[0]
    assert "\n" not in warnings[0]


def test_the_contexts_unused_for_longest_go_first(tmp_path: Path, warnings: list[str]) -> None:
    for age, name in enumerate("abcd"):
        Store(tmp_path, name * 64, warnings.append).put(key(0), bytes(1000))
        (tmp_path / "predictions" / (name * 64) / "notes.txt").write_text("mine")
        days_ago = time.time() - 86400 * (10 - age)
        os.utime(tmp_path / "predictions" / (name * 64), (days_ago, days_ago))
    Store(tmp_path, "e" * 64, warnings.append, limit=2500)
    left = [path.parent.name[0] for path in records(tmp_path)]
    assert left == ["c", "d"]
    assert (tmp_path / "predictions" / ("b" * 64) / "notes.txt").read_text() == "mine"
    Store(tmp_path, "f" * 64, warnings.append, limit=2500).put(key(0), bytes(3000))
    Store(tmp_path, "c" * 64, warnings.append, limit=1)  # f is in use, c asks
    assert sorted({path.parent.name[0] for path in records(tmp_path)}) == ["c", "f"]


def test_the_default_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("PDIFF_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_folder() == Path("/home/someone/.cache/pdiff")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_folder() == Path("/xdg/pdiff")
    monkeypatch.setenv("PDIFF_CACHE", "/own")
    assert default_folder() == Path("/own")


@pytest.mark.parametrize("measures", [0, 3])
@pytest.mark.parametrize("classes", [0, 4])
@pytest.mark.parametrize("n", [1, 8, 13])
def test_a_prediction_is_unpacked_as_it_was_packed(n: int, measures: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(n)
    measured = torch.randn(n, measures, generator=generator) if measures else None
    votes = torch.rand(n, classes, generator=generator).half() if classes else None
    prediction = Prediction(torch.rand(n, generator=generator) > 0.5, measured, votes)
    data = prediction.packed()
    found = Prediction.unpacked(data)
    assert found is not None
    assert torch.equal(found.correct, prediction.correct)
    for ours, theirs in ((found.measured, measured), (found.probabilities, votes)):
        assert (ours is None) == (theirs is None)
        assert ours is None or (torch.equal(ours, theirs) and ours.dtype == theirs.dtype)
    assert all(Prediction.unpacked(data[:cut]) is None for cut in range(len(data)))
