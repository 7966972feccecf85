"""Arguments that are read and arguments that are written may not share memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pdiff import _core
from tests.unit.core.checkpoints import F32, origins

SHARE = "share memory; accepted: memory of its own for each"


def test_coefficients_are_not_inside_the_combinations(shard: _core.Shard, layout: _core.Layout) -> None:
    identity = _core.Normalizer.identity(layout)
    memory = np.zeros(4 * 16 + 4 * 4, F32)
    out = memory[: 4 * 16].reshape(4, 16)
    for begin in (0, 48, 63):
        inside = memory[begin : begin + 16].reshape(4, 4)
        with pytest.raises(ValueError, match=f"out and coefficients {SHARE}"):
            _core.combine(inside, [shard], identity, out)
    beside = memory[4 * 16 :].reshape(4, 4)
    beside[:] = np.eye(4)
    _core.combine(beside, [shard], identity, out)
    expected = np.empty((4, 16), F32)
    _core.gather([shard], np.arange(4), expected, identity)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("kind", [F32, np.uint16])
def test_indices_are_not_inside_the_batch(shard: _core.Shard, layout: _core.Layout, kind: type) -> None:
    out = np.zeros((2, 16), kind)
    indices = out.reshape(-1).view(np.int64)[1:3]
    with pytest.raises(ValueError, match=f"out and indices {SHARE}"):
        _core.gather([shard], indices, out, _core.Normalizer.identity(layout))


def test_no_memory_is_no_shared_memory(shard: _core.Shard, layout: _core.Layout) -> None:
    out = np.zeros((0, 16), F32)
    _core.gather([shard], np.zeros(0, np.int64), out, _core.Normalizer.identity(layout))


def test_buffers_of_a_prefetch_are_apart(shard: _core.Shard, layout: _core.Layout) -> None:
    identity = _core.Normalizer.identity(layout)
    memory = np.zeros((4, 16), F32)
    with pytest.raises(ValueError, match=f"buffer and buffer {SHARE}"):
        _core.Prefetch([shard], [memory[:3], memory[2:]], identity)
    prefetch = _core.Prefetch([shard], [memory[:2], memory[2:]], identity)
    with pytest.raises(ValueError, match=f"indices and buffer {SHARE}"):
        prefetch.submit(0, memory.reshape(-1).view(np.int64)[-2:])
    prefetch.submit(0, np.arange(2))
    assert prefetch.wait() == 0


def test_sums_and_samples_are_apart(sources: list[Path], layout: _core.Layout) -> None:
    sums = np.zeros(layout.dim)
    samples = sums.view(F32)[: 2 * layout.dim].reshape(2, layout.dim)
    with pytest.raises(ValueError, match=f"sums and samples {SHARE}"):
        _core.add_rows(layout, origins(sources[:2]), [0.5, 0.5], sums, samples)


Views = dict[str, np.ndarray]


@pytest.mark.parametrize("name", ["models", "members", "itself"])
def test_what_is_nearest_is_not_written_over_what_is_asked(name: str) -> None:
    def call(views: Views, out: np.ndarray) -> None:
        sets.nearest(views["models"], views["members"], views["itself"], out)

    sets = _core.WrongSets(np.eye(3, dtype=np.uint8))
    views = {each: np.zeros(2, np.int64) for each in ("models", "members", "itself")}
    refuses(call, views, np.zeros(2), name)


@pytest.mark.parametrize("name", ["models", "weights", "ends"])
def test_sums_are_not_written_over_what_is_summed(name: str) -> None:
    def call(views: Views, out: np.ndarray) -> None:
        sets.sums_after(views["models"], views["weights"], views["ends"], out)

    sets = _core.WrongSets(np.eye(3, dtype=np.uint8))
    views = {"models": np.zeros(2, np.int64), "weights": np.ones(2), "ends": np.array([2])}
    refuses(call, views, np.zeros((2, 1)), name)


def refuses(call: Callable[[Views, np.ndarray], None], views: Views, out: np.ndarray, name: str) -> None:
    """Check that `call` is refused if the argument `name` lies in `out`, and that it is not otherwise."""
    call(views, out)
    inside = out.reshape(-1)[: len(views[name])].view(views[name].dtype)
    inside[:] = views[name]
    with pytest.raises(ValueError, match=f"out and {name} {SHARE}"):
        call({**views, name: inside}, out)
