"""Layouts, and shards as NumPy and the plain safetensors library see them."""

import io
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from pdiff import _core
from tests.unit.core.checkpoints import F32, origins, row, tensors


def test_a_layout_orders_its_segments(layout: _core.Layout) -> None:
    found = [(s.name, s.dtype, s.shape, s.begin, s.end, s.log_variance) for s in layout.segments]
    assert found == [
        ("bn.running_var", "F32", (3,), 0, 3, True),
        ("fc9.weight", "F16", (5,), 3, 8, False),
        ("fc10.weight", "F32", (2, 4), 8, 16, False),
    ]
    assert layout.dim == 16
    again = _core.Layout([(s.name, s.dtype, s.shape) for s in reversed(layout.segments)])
    assert again.fingerprint == layout.fingerprint


def test_what_is_no_layout_is_an_input_error() -> None:
    with pytest.raises(_core.InputError, match='dtype "I64"; accepted: F64, F32, F16 or BF16'):
        _core.Layout([("a", "I64", [1])])
    with pytest.raises(_core.InputError, match="listed twice"):
        _core.Layout([("a", "F32", [1]), ("a", "F32", [1])])
    with pytest.raises(_core.InputError, match="at least one number"):
        _core.Layout([])


def test_a_shard_opens_with_the_plain_safetensors_library(tmp_path: Path, shard: _core.Shard) -> None:
    with safe_open(tmp_path / "shard.safetensors", "numpy") as file:
        assert list(file.keys()) == ["rows"]
        rows = file.get_tensor("rows")
    assert rows.dtype == F32
    np.testing.assert_array_equal(rows, [row(i) for i in range(4)])
    assert (shard.rows, shard.dim) == (4, 16)


def test_an_array_shares_memory_with_the_map(tmp_path: Path, shard: _core.Shard) -> None:
    first, second = np.asarray(shard), np.asarray(shard)
    assert first.shape == (4, 16)
    assert first.dtype == F32
    assert first.ctypes.data == second.ctypes.data
    assert first[2].ctypes.data == first.ctypes.data + 2 * 16 * 4
    assert first.ctypes.data % 64 == 0
    # The address lies in the mapping of the file, not in memory of our own.
    maps = Path("/proc/self/maps").read_text().splitlines()
    file = str(tmp_path / "shard.safetensors")
    ranges = [line.split()[0].split("-") for line in maps if line.endswith(file)]
    assert any(int(begin, 16) <= first.ctypes.data < int(end, 16) for begin, end in ranges)


def test_a_view_is_read_only_and_outlives_the_shard(tmp_path: Path, shard: _core.Shard) -> None:
    rows = np.asarray(shard)
    with pytest.raises(ValueError, match="read-only"):
        rows[0, 0] = 1
    (tmp_path / "shard.safetensors").unlink()
    del shard
    np.testing.assert_array_equal(rows[3], row(3))


def test_the_buffer_is_what_memoryview_expects(shard: _core.Shard) -> None:
    view = memoryview(shard)
    assert (view.format, view.shape, view.strides, view.itemsize) == ("f", (4, 16), (64, 4), 4)
    assert view.readonly
    assert view.c_contiguous
    assert view.nbytes == 4 * 16 * 4
    assert view[1, 2] == row(1)[2]
    assert bytes(shard) == np.asarray(shard).tobytes()
    with pytest.raises(TypeError, match="read-write"):
        io.BytesIO(b"1234").readinto(shard)


def test_digests_of_rows_depend_on_the_modelled_bytes_only(
    tmp_path: Path, layout: _core.Layout, sources: list[Path]
) -> None:
    changed = tensors(0) | {"steps": np.array(99)}
    save_file(changed, sources[1])
    [(digests, _)] = _core.write_shards([(tmp_path / "s", origins(sources))], layout)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    content = b"".join(changed[s.name].tobytes() for s in layout.segments)
    assert digests[0] == _core.digest(content)


def test_a_refused_source_leaves_nothing_behind(
    tmp_path: Path, layout: _core.Layout, sources: list[Path]
) -> None:
    broken = tensors(2)
    broken["fc10.weight"][0, :3] = [np.nan, np.inf, -np.inf]
    save_file(broken, sources[2])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(
        _core.InputError, match=r'step-2\.safetensors: tensor "fc10.weight" holds NaN .* \(3 of 8 values'
    ):
        _core.write_shards([(tmp_path / "s", origins(sources))], layout)
    assert sorted(tmp_path.iterdir()) == before


def test_the_first_refused_source_is_named(tmp_path: Path, layout: _core.Layout, sources: list[Path]) -> None:
    save_file({"fc9.weight": np.zeros(5, np.float16)}, sources[1])
    save_file({"fc10.weight": np.zeros(5, np.float16)}, sources[3])
    with pytest.raises(_core.InputError, match=r'step-1\.safetensors: holds no tensor "bn.running_var"'):
        _core.write_shards([(tmp_path / "s", origins(sources))], layout)


def test_varying_tensors_finds_the_difference(sources: list[Path]) -> None:
    save_file(tensors(0) | {"steps": np.array(5)}, sources[1])
    files = origins(sources)
    assert _core.varying_tensors(files[:1], ["steps", "fc9.weight"]) == [False, False]
    assert _core.varying_tensors(files[:2], ["steps", "fc9.weight"]) == [True, False]
    assert _core.varying_tensors(files[:2], ["steps", "fc9.weight"], sample=True) == [True, False]
    assert _core.varying_tensors(files, ["fc9.weight", "fc10.weight"]) == [True, True]
    with pytest.raises(_core.InputError, match=r'step-0\.safetensors: holds no tensor "x"'):
        _core.varying_tensors(files, ["x"])
    with pytest.raises(ValueError, match="no checkpoints"):
        _core.varying_tensors([], ["x"])


def test_rows_are_read_into_memory(layout: _core.Layout, sources: list[Path]) -> None:
    out = np.empty((4, 16), F32)
    _core.read_rows(layout, origins(sources), out)
    np.testing.assert_array_equal(out, [row(i) for i in range(4)])
    with pytest.raises(ValueError, match=r"out has shape \[3, 16\]; accepted: \[4, 16\]"):
        _core.read_rows(layout, origins(sources), out[:3])
