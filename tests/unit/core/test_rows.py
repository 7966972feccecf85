"""What gather, the normalizer and the statistics accept."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pdiff import _core
from tests.unit.core.checkpoints import F32, row


def test_gather_checks_its_arguments(shard: _core.Shard, layout: _core.Layout) -> None:
    identity = _core.Normalizer.identity(layout)
    indices, out = np.array([3, 0]), np.empty((2, 16), F32)

    def gather(indices: np.ndarray = indices, out: np.ndarray = out, **columns: int) -> None:
        _core.gather([shard], indices, out, identity, **columns)

    gather()
    np.testing.assert_array_equal(out, [row(3), row(0)])
    with pytest.raises(IndexError, match="row 4 is out of range; the shards hold 4 rows"):
        gather(np.array([0, 4]))
    with pytest.raises(IndexError, match="row -1 is out of range"):
        gather(np.array([-1, 0]))
    with pytest.raises(ValueError, match=r"indices has elements of format \"i\"; accepted: aligned i64"):
        gather(indices.astype(np.int32))
    with pytest.raises(ValueError, match=r"indices has shape \[1, 2\]; accepted: one axis"):
        gather(indices[None])
    with pytest.raises(ValueError, match=r"out has shape \[2, 16\]; accepted: \[2, 15\]"):
        gather(begin=1)
    with pytest.raises(ValueError, match=r"out has shape \[32\]; accepted: \[2, 16\]"):
        gather(out=out.ravel())
    with pytest.raises(ValueError, match='out has elements of format "d"; accepted: f32, or bf16 as u16'):
        gather(out=out.astype(np.float64))
    with pytest.raises(ValueError, match="out is not contiguous"):
        gather(out=np.empty((16, 2), F32).T)
    with pytest.raises(ValueError, match="out is read-only"):
        gather(out=np.asarray(shard)[:2])
    with pytest.raises(ValueError, match=r"columns \[9, 17\); accepted: 0 <= begin <= end <= 16"):
        gather(begin=9, end=17)
    other = _core.Normalizer.identity(_core.Layout([("a", "F32", [16, 2])]))
    with pytest.raises(ValueError, match="rows of 16 numbers; accepted: 32"):
        _core.gather([shard], indices, np.empty((2, 32), F32), other)


def test_gather_of_nothing_is_fine(shard: _core.Shard, layout: _core.Layout) -> None:
    identity = _core.Normalizer.identity(layout)
    none = np.empty(0, np.int64)
    _core.gather([shard], none, np.empty((0, 16), F32), identity)
    _core.gather([shard], np.array([1]), np.empty((1, 0), F32), identity, 7, 7)
    _core.gather([], none, np.empty((0, 16), F32), identity)


def test_a_normalizer_checks_its_arguments(layout: _core.Layout) -> None:
    build, three = _core.Normalizer.from_statistics, np.ones(3)
    with pytest.raises(ValueError, match='kind "row"; accepted: "tensor", "element"'):
        build(layout, "row", three, three, three)
    with pytest.raises(ValueError, match="mean has 3 values; accepted: 16"):
        build(layout, "element", three, three, three)
    with pytest.raises(ValueError, match=r'std has elements of format "f"; accepted: aligned f64'):
        build(layout, "tensor", three, three.astype(F32), three)
    with pytest.raises(ValueError, match=r"std\[0\] is NaN; accepted: finite and not negative"):
        build(layout, "tensor", three, three * np.nan, three)
    normalizer = build(layout, "tensor", three, three, three)
    assert (normalizer.kind, _core.Normalizer.identity(layout).kind) == ("tensor", "none")
    with pytest.raises(ValueError, match=r"rows has shape \[16\]; accepted: \[N, 16\]"):
        normalizer.apply(np.zeros(16, F32))
    frozen = np.zeros((1, 16), F32)
    frozen.setflags(write=False)
    with pytest.raises(ValueError, match="rows is read-only"):
        normalizer.invert(frozen)


def test_statistics_of_no_shards_and_of_negative_variances(
    tmp_path: Path, shard: _core.Shard, layout: _core.Layout
) -> None:
    with pytest.raises(ValueError, match="no rows"):
        _core.write_statistics(tmp_path / "none", [], layout)
    rows = np.array(shard)
    rows[1, 2] = -0.5
    save_file({"rows": rows}, tmp_path / "s")
    with pytest.raises(_core.InputError, match=r'"bn.running_var" has the running variance -0.5 in row 1'):
        _core.write_statistics(tmp_path / "none", [_core.Shard(tmp_path / "s")], layout)
    assert not (tmp_path / "none").exists()
