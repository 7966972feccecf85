"""Rows against slow, obvious references in NumPy: statistics, gather, and the round trip."""

import tempfile
from collections.abc import Sequence

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file
from safetensors.torch import save_file

from pdiff import _core

quick = settings(deadline=None, derandomize=True, max_examples=60)

NAMES = ["bn1.running_var", "bn10.running_var", "fc.weight", "fc.bias", "running_var.fc"]
Normalizing = tuple[_core.Normalizer, np.ndarray, np.ndarray, np.ndarray]
U = 2.0**-24  # the rounding unit of f32


def numbers(shape: tuple[int, ...], low: float = -100.0) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float32, shape, elements=st.floats(low, 100, width=32))


def is_variance(name: str) -> bool:
    return name.rpartition(".")[2] == "running_var"


@st.composite
def banks(draw: st.DrawFn, low: float = 0.0) -> tuple[_core.Layout, np.ndarray]:
    """A layout of up to five tensors, and the rows [K, D] of a bank of them."""
    sizes = draw(st.lists(st.integers(0, 6), min_size=5, max_size=5).filter(any))
    layout = _core.Layout([(n, "F32", (s,)) for n, s in zip(NAMES, sizes, strict=True)])
    return layout, draw(numbers((draw(st.integers(1, 7)), layout.dim), low))


def open_shards(rows: np.ndarray, cut: int = 0) -> list[_core.Shard]:
    """Map `rows` as two shards, cut before row `cut`, that other code than ours wrote."""
    shards = []
    for part in (rows[:cut], rows[cut:]):
        with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
            save_file({"rows": torch.from_numpy(part.copy())}, file.name)
            shards.append(_core.Shard(file.name))
    return shards


def log_scales(layout: _core.Layout, rows: np.ndarray) -> np.ndarray:
    """scale [T] = 0.95 · mean of each running variance, else 1."""
    means = [
        rows[:, s.begin : s.end].astype(np.float64).mean() if is_variance(s.name) and s.end > s.begin else 0
        for s in layout.segments
    ]
    return np.array([0.95 * mean if mean > 0 else 1.0 for mean in means])


def transformed(layout: _core.Layout, rows: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """t(x) [K, D] in f64."""
    out = rows.astype(np.float64)
    for segment, scale in zip(layout.segments, scales, strict=True):
        if is_variance(segment.name):
            part = out[:, segment.begin : segment.end]
            part[:] = np.log(np.maximum(part, 0) / scale + 0.05)
    return out


def per_column(layout: _core.Layout, values: Sequence[float]) -> np.ndarray:
    """Spread [T] over the columns [D]."""
    return np.repeat(values, [s.end - s.begin for s in layout.segments])


def spread(part: np.ndarray) -> float:
    """Return the std within rows [K, n]; that over rows where f32 cannot tell a row's numbers apart."""
    within, mean = part.std(axis=1).mean(), abs(part.mean(axis=1).mean())
    return float(within if within > 2.0**-24 * mean else np.sqrt(part.var(axis=0).mean()))


@quick
@given(banks(), st.integers(0, 7))
def test_statistics_are_the_definition(bank: tuple[_core.Layout, np.ndarray], cut: int) -> None:
    layout, rows = bank
    with tempfile.TemporaryDirectory() as folder:
        _core.write_statistics(f"{folder}/s", open_shards(rows, cut), layout)
        found = load_file(f"{folder}/s")
    scales = log_scales(layout, rows)
    t = transformed(layout, rows, scales)
    tensors = [t[:, s.begin : s.end] if s.end > s.begin else np.zeros((1, 1)) for s in layout.segments]
    raw = [rows[:, s.begin : s.end] for s in layout.segments]
    expected = {
        "log_scale": scales,
        "tensor_mean": np.array([part.mean(axis=1).mean() for part in tensors]),
        "tensor_std": np.array([spread(part) for part in tensors]),
        "tensor_min": np.array([part.min() if part.size else 0.0 for part in raw]),
        "tensor_max": np.array([part.max() if part.size else 0.0 for part in raw]),
        "element_mean": t.mean(axis=0),
        "element_std": t.std(axis=0),
    }
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-11, atol=1e-11, err_msg=key)


@st.composite
def normalizers(draw: st.DrawFn, layout: _core.Layout) -> Normalizing:
    """A normaliser with its mean [D], std [D] and log scale [T]."""
    kind = draw(st.sampled_from(["tensor", "element"]))
    size = len(layout.segments) if kind == "tensor" else layout.dim
    floats = st.lists(st.floats(-2, 2), min_size=size, max_size=size)
    mean, std = np.array(draw(floats)), np.abs(np.array(draw(floats)))
    std[std < 1e-3] = 0
    scale = np.array(draw(st.lists(st.floats(0.01, 10), min_size=5, max_size=5)))
    normalizer = _core.Normalizer.from_statistics(layout, kind, mean, std, scale)
    std = np.where(std == 0, 1, std)
    if kind == "tensor":
        mean, std = per_column(layout, mean), per_column(layout, std)
    return normalizer, mean, std, scale


@quick
@given(st.data())
def test_gather_normalises_like_numpy(data: st.DataObject) -> None:
    layout, rows = data.draw(banks(low=-100))
    normalizer, mean, std, scales = data.draw(normalizers(layout))
    indices = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=9)), dtype=np.int64)
    begin, end = sorted(data.draw(st.tuples(*[st.integers(0, layout.dim)] * 2)))
    shards = open_shards(rows, data.draw(st.integers(0, len(rows))))
    out = np.full((len(indices), end - begin), np.nan, np.float32)
    _core.gather(shards, indices, out, normalizer, begin, end)

    expected = ((transformed(layout, rows, scales) - mean) / std).astype(np.float32)
    expected = expected[indices, begin:end]
    linear = ~per_column(layout, [is_variance(s.name) for s in layout.segments])[begin:end]
    np.testing.assert_array_equal(out[:, linear], expected[:, linear])
    # The logarithms of two libraries may round differently.
    np.testing.assert_array_almost_equal_nulp(out[:, ~linear], expected[:, ~linear], nulp=1)

    whole = rows.copy()
    normalizer.apply(whole)
    np.testing.assert_array_equal(whole[indices, begin:end], out)


@quick
@given(st.data())
def test_a_round_trip_keeps_the_documented_bound(data: st.DataObject) -> None:
    layout, rows = data.draw(banks())
    normalizer, mean, std, scales = data.draw(normalizers(layout))
    found = rows.copy()
    normalizer.apply(found)
    normalizer.invert(found)
    error = np.abs(found.astype(np.float64) - rows)
    x, scale = rows.astype(np.float64), per_column(layout, scales)
    in_log = per_column(layout, [is_variance(s.name) for s in layout.segments])
    distance = np.abs(transformed(layout, rows, scales) - mean)
    bound = np.where(in_log, x + (x + scale / 20) * distance, np.abs(x) + distance)
    subnormal = distance < 2.0**-126 * std  # y, for which no bound is promised
    assert np.all((error <= 1.001 * U * bound + 2.0**-150) | subnormal)
    size = np.maximum(np.abs(rows), distance.astype(np.float32))
    assert np.all((error <= 2 * np.spacing(size)) | in_log | subnormal)
    assert np.all(found[:, in_log] >= 0)


@quick
@given(banks(low=-100), st.integers(0, 7))
def test_the_identity_changes_no_bit(bank: tuple[_core.Layout, np.ndarray], cut: int) -> None:
    layout, rows = bank
    rows.view(np.uint32)[0, 0] = 0x7FC0_1234  # a NaN with a payload
    identity = _core.Normalizer.identity(layout)
    out = np.empty_like(rows)
    _core.gather(open_shards(rows, cut), np.arange(len(rows)), out, identity)
    identity.apply(out)
    identity.invert(out)
    assert out.tobytes() == rows.tobytes()
