"""The cache: payloads come back whole or not at all, whoever wrote them, in bounded space; nothing raises."""

import multiprocessing
import random
import signal
import sqlite3
import sys
import time
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from pdiff import _core
from pdiff.evaluation.inference import cache
from pdiff.evaluation.inference.cache import FILE, Cache, default_folder


def key(number: int) -> str:
    return _core.digest(str(number).encode())


def payload(number: int) -> bytes:
    return random.Random(number).randbytes(number % 97)


@pytest.fixture
def said() -> list[str]:
    return []


def test_payloads_are_found_by_another_process(tmp_path: Path, said: list[str]) -> None:
    first = Cache(tmp_path / "deep" / "folder", said.append)
    second = Cache(tmp_path / "deep" / "folder", said.append)
    for number in range(50):
        first.put(key(number), payload(number))
        assert second.get(key(number)) == payload(number)
    third = Cache(tmp_path / "deep" / "folder", said.append)
    assert [third.get(key(number)) for number in range(51)] == [*map(payload, range(50)), None]
    third.put(key(3), b"another")
    assert first.get(key(3)) == b"another"
    assert said == []


def fill(folder: Path, first: int) -> None:
    store = Cache(folder, sys.exit)
    for number in range(first, first + 300):
        store.put(key(number), payload(number))


def test_processes_write_at_once(tmp_path: Path, said: list[str]) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fill, args=(tmp_path, first)) for first in (0, 100, 200)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    store = Cache(tmp_path, said.append)
    assert [store.get(key(number)) for number in range(500)] == [payload(n) for n in range(500)]
    assert said == []


def fill_until_killed(folder: Path, written: Connection) -> None:
    store = Cache(folder, sys.exit)
    for number in count():
        store.put(f"{number}", number.to_bytes(4, "big") * 5000)
        written.send(number)


@pytest.mark.parametrize("number", [0, 7, 40])
def test_a_killed_process_loses_at_most_the_record_in_progress(
    tmp_path: Path, said: list[str], number: int
) -> None:
    context = multiprocessing.get_context("fork")
    written, write = context.Pipe(duplex=False)
    process = context.Process(target=fill_until_killed, args=(tmp_path, write))
    process.start()
    write.close()
    while (last := written.recv()) < number:
        pass
    process.kill()
    with suppress(EOFError):
        while True:
            last = written.recv()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    store = Cache(tmp_path, said.append)
    for index in range(last + 1):
        assert store.get(str(index)) == index.to_bytes(4, "big") * 5000
    store.put("more", b"still works")
    assert store.get("more") == b"still works"
    assert said == []


def test_damaged_payloads_are_ignored_and_replaced(tmp_path: Path, said: list[str]) -> None:
    store = Cache(tmp_path, said.append)
    for number in (20, 30):
        store.put(key(number), payload(number))
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("UPDATE records SET payload = ? WHERE key = ?", (bytes(20), key(20)))
        database.execute("UPDATE records SET payload = 5, used = 'x' WHERE key = ?", (key(30),))
    database.close()
    assert [store.get(key(number)) for number in (20, 30)] == [None, None]
    store.put(key(20), payload(20))
    assert store.get(key(20)) == payload(20)
    assert said == []


@pytest.mark.parametrize("damage", ["no database", "cut", "overwritten", "another table"])
def test_a_damaged_file_is_said_once_and_done_without(tmp_path: Path, said: list[str], damage: str) -> None:
    store = Cache(tmp_path, print)
    for number in range(1000):
        store.put(key(number), payload(number))
    del store
    file = tmp_path / FILE
    whole = file.read_bytes()
    match damage:
        case "no database":
            file.write_bytes(b"not a database at all, but long enough to be looked at" * 99)
        case "cut":
            file.write_bytes(whole[: len(whole) // 2])
        case "overwritten":
            file.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
        case "another table":
            file.unlink()
            with sqlite3.connect(file) as database:
                database.execute("CREATE TABLE records (other TEXT)")
            database.close()
    store = Cache(tmp_path, said.append)
    for number in range(1000):
        store.put(key(number), payload(number))
        assert store.get(key(number)) in (payload(number), None)
    assert len(said) == 1
    assert said[0].startswith(f"{file}: predictions are computed without a cache (")


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    store = Cache(tmp_path / "file", said.append)
    for number in range(3):
        store.put(key(number), payload(number))
        assert store.get(key(number)) is None
    assert len(said) == 1
    assert said[0].endswith("; see --cache")
    assert "\n" not in said[0]


def test_the_least_recently_used_go_first(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.time()]
    monkeypatch.setattr(cache.time, "time", lambda: now[0])
    store = Cache(tmp_path, said.append, limit=6000)
    for number in range(6):
        store.put(str(number), bytes([number]) * 1000)
        now[0] += 2 * cache._RESOLUTION_S
    assert store.get("0") == bytes(1000), "used again, so it stays"
    store.put("6", bytes(1000))
    again = Cache(tmp_path, said.append, limit=6000)
    assert [number for number in range(7) if again.get(str(number)) is not None] == [0, 2, 3, 4, 5, 6]
    smaller = Cache(tmp_path, said.append, limit=999)
    assert all(smaller.get(str(number)) is None for number in range(7))
    assert said == []


def test_the_file_stops_growing(tmp_path: Path, said: list[str]) -> None:
    store = Cache(tmp_path, said.append, limit=64_000)
    for number in range(2000):
        store.put(str(number), bytes(1000))
    assert store.get("1999") == bytes(1000)
    assert (tmp_path / FILE).stat().st_size < 2 * 64_000 + 64_000


def test_the_default_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("PDIFF_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_folder() == Path("/home/someone/.cache/pdiff")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_folder() == Path("/xdg/pdiff")
    monkeypatch.setenv("PDIFF_CACHE", "/own")
    assert default_folder() == Path("/own")
