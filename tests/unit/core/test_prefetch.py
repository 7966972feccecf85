"""Batches gathered ahead: buffers, errors, threads, forks, Ctrl-C."""

import gc
import textwrap
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pdiff import _core
from tests.unit.core.checkpoints import F32, row
from tests.unit.core.scripts import interrupted, run

# Batches of 8 million numbers, which take a while.
PREPARE = """
    import os, signal, sys, threading, time
    import numpy as np
    from safetensors.numpy import save_file
    from pdiff import _core

    D = 1 << 18
    save_file({"rows": np.ones((4, D), np.float32)}, sys.argv[1])
    shard, layout = _core.Shard(sys.argv[1]), _core.Layout([("a", "F32", [D])])
    identity = _core.Normalizer.identity(layout)
    buffers = [np.zeros((32, D), np.float32) for _ in range(2)]
    many = np.zeros(32, np.int64)
"""


def script(body: str) -> str:
    return textwrap.dedent(PREPARE) + textwrap.dedent(body)


@pytest.fixture
def buffers() -> list[np.ndarray]:
    return [np.full((3, 16), np.nan, F32) for _ in range(2)]


@pytest.fixture
def prefetch(shard: _core.Shard, layout: _core.Layout, buffers: list[np.ndarray]) -> _core.Prefetch:
    return _core.Prefetch([shard], buffers, _core.Normalizer.identity(layout))


def test_batches_come_in_the_order_that_they_were_asked_for(
    prefetch: _core.Prefetch, buffers: list[np.ndarray]
) -> None:
    prefetch.submit(1, np.array([3, 0, 3]))
    prefetch.submit(0, np.array([2]))
    assert [prefetch.wait(), prefetch.wait()] == [1, 0]
    np.testing.assert_array_equal(buffers[1], [row(3), row(0), row(3)])
    np.testing.assert_array_equal(buffers[0][0], row(2))
    assert np.isnan(buffers[0][1:]).all(), "the rest of the buffer is the caller's"
    prefetch.submit(0, np.array([], np.int64))
    assert prefetch.wait() == 0


def test_arguments_are_checked(
    prefetch: _core.Prefetch, shard: _core.Shard, layout: _core.Layout, buffers: list[np.ndarray]
) -> None:
    one = np.array([1])
    with pytest.raises(ValueError, match="slot 2; accepted: 0 to 1"):
        prefetch.submit(2, one)
    with pytest.raises(ValueError, match="4 indices for slot 0; accepted: at most 3"):
        prefetch.submit(0, np.arange(4))
    with pytest.raises(ValueError, match="nothing to wait for; submit first"):
        prefetch.wait()
    prefetch.submit(0, one)
    with pytest.raises(ValueError, match="slot 0 is being filled; accepted: one that was waited for"):
        prefetch.submit(0, one)
    assert prefetch.wait() == 0
    identity = _core.Normalizer.identity(layout)
    with pytest.raises(ValueError, match=r"buffer has shape \[3, 16\]; accepted: \[B, 5\]"):
        _core.Prefetch([shard], buffers, identity, 4, 9)
    with pytest.raises(ValueError, match='buffer has elements of format "d"; accepted: f32, or bf16 as u16'):
        _core.Prefetch([shard], [np.empty((3, 16))], identity)
    with pytest.raises(ValueError, match="buffer is read-only"):
        _core.Prefetch([shard], [np.asarray(shard)], identity)


def test_an_error_belongs_to_its_batch(prefetch: _core.Prefetch, buffers: list[np.ndarray]) -> None:
    prefetch.submit(0, np.array([0, 4]))
    prefetch.submit(1, np.array([1]))
    with pytest.raises(IndexError, match="row 4 is out of range; the shards hold 4 rows"):
        prefetch.wait()
    assert prefetch.wait() == 1
    np.testing.assert_array_equal(buffers[1][0], row(1))
    prefetch.submit(0, np.array([2]))
    assert prefetch.wait() == 0


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
def test_every_way_to_store_and_to_ask(tmp_path: Path, layout: _core.Layout, stored: torch.dtype) -> None:
    rows = torch.from_numpy(np.stack([row(i) for i in range(4)])).to(stored)
    save_file({"rows": rows}, tmp_path / "s")
    shard, identity = _core.Shard(tmp_path / "s"), _core.Normalizer.identity(layout)
    single, half = torch.empty(2, 5), torch.empty(2, 5, dtype=torch.bfloat16)
    buffers = [single.numpy(), half.view(torch.uint16).numpy()]
    prefetch = _core.Prefetch([shard], buffers, identity, 4, 9)
    for slot in (0, 1):
        prefetch.submit(slot, np.array([3, 1]))
        assert prefetch.wait() == slot
    assert torch.equal(single, rows[[3, 1], 4:9].float())
    assert torch.equal(half, rows[[3, 1], 4:9].float().bfloat16())


def test_the_buffers_go_with_the_prefetch(
    shard: _core.Shard, layout: _core.Layout, buffers: list[np.ndarray]
) -> None:
    prefetch = _core.Prefetch([shard], buffers, _core.Normalizer.identity(layout))
    held = [weakref.ref(buffer) for buffer in buffers]
    prefetch.submit(0, np.array([0]))
    buffers.clear()
    gc.collect()
    assert all(ref() is not None for ref in held), "the thread may write to them"
    del prefetch, shard
    assert all(ref() is None for ref in held)


def test_dropping_it_half_way_stops_the_thread(tmp_path: Path) -> None:
    body = """
        for _ in range(20):
            prefetch = _core.Prefetch([shard], buffers, identity)
            prefetch.submit(0, many)
            prefetch.submit(1, many)
            del prefetch
        names = [open(f"/proc/self/task/{t}/comm").read() for t in os.listdir("/proc/self/task")]
        print(sum("prefetch" in name for name in names))
        prefetch = _core.Prefetch([shard], buffers, identity)
        prefetch.submit(0, many)  # under way when the interpreter ends
    """
    assert run(script(body), str(tmp_path / "rows")) == "0\n"


def test_waiting_releases_the_gil(tmp_path: Path) -> None:
    body = """
        prefetch, turns = _core.Prefetch([shard], buffers, identity), 0
        def wait():
            for _ in range(20):
                prefetch.submit(0, many)
                prefetch.wait()
        thread = threading.Thread(target=wait)
        thread.start()
        while thread.is_alive():
            turns += 1
            time.sleep(0.001)
        print(turns > 10)
    """
    assert run(script(body), str(tmp_path / "rows")) == "True\n"


def test_ctrl_c_ends_the_waiting_and_nothing_else(tmp_path: Path) -> None:
    body = """
        prefetch = _core.Prefetch([shard], buffers, identity)
        print("ready", flush=True)
        count = 0
        try:
            while True:
                prefetch.submit(0, many)
                prefetch.wait()
                count += 1
        except KeyboardInterrupt:
            print("interrupted")
        try:
            print(prefetch.wait())
        except ValueError:  # the signal came between two batches
            print(0)
        prefetch.submit(0, many)
        print(prefetch.wait())
    """
    output = interrupted(script(body), str(tmp_path / "rows"), after=0.3)
    assert output == "interrupted\n0\n0\n"


def test_a_fork_must_make_its_own(tmp_path: Path) -> None:
    body = """
        prefetch = _core.Prefetch([shard], buffers, identity)
        prefetch.submit(0, many)
        child = os.fork()
        signal.alarm(30)
        if child == 0:
            for call in (prefetch.wait, lambda: prefetch.submit(1, many)):
                try:
                    call()
                except _core.PdiffError as error:
                    print(error, flush=True)
            del prefetch
            own = _core.Prefetch([shard], [np.zeros((32, D), np.float32)], identity)
            own.submit(0, many)
            print(own.wait(), flush=True)
            del own
            os._exit(7)
        print(prefetch.wait(), buffers[0].min(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    error = "this loader belongs to the process that was forked; make one after the fork\n"
    assert sorted(run(script(body), str(tmp_path / "rows")).splitlines(keepends=True)) == sorted(
        [error, error, "0\n", "0 1.0 7\n"]
    )


def test_two_threads_that_wait_for_one_batch_both_come_back(
    prefetch: _core.Prefetch, buffers: list[np.ndarray]
) -> None:
    prefetch.submit(0, np.array([1]))
    found: list[object] = []

    def wait() -> None:
        try:
            found.append(prefetch.wait())
        except ValueError as error:
            found.append(str(error))

    threads = [threading.Thread(target=wait) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(map(str, found)) == ["0", "nothing to wait for; submit first"]
