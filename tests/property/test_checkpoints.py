"""Torch files and safetensors files against torch and safetensors, bit for bit."""

import tempfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from pdiff import _core
from tests.support import SAFE_GLOBALS, content

quick = settings(deadline=None, derandomize=True, max_examples=400)

DTYPES = {
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.uint8: "U8",
    torch.uint16: "U16",
    torch.uint32: "U32",
    torch.uint64: "U64",
    torch.bool: "BOOL",
    torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
UNTYPED = {torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2}
"""Their storages have no type of their own, and torch cannot load them from legacy files."""
NAMES = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=6
).map(lambda name: f"w.{name}")
"""With a prefix, so that none of them begins with a wrapper."""


def filled(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    """Return a tensor of any bit pattern, NaN and infinities included; a bool is 0 or 1."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if size == 0:
        return torch.empty(shape, dtype=dtype)
    data = np.random.default_rng(seed).integers(0, 2 if dtype == torch.bool else 256, size, dtype=np.uint8)
    return torch.from_numpy(data).view(dtype).reshape(shape)


def transposed(tensor: Tensor) -> Tensor:
    return tensor.permute(tuple(reversed(range(tensor.dim()))))


def sliced(tensor: Tensor) -> Tensor:
    return tensor[tuple(slice(i % 2, None, 1 + i % 2) for i in range(tensor.dim()))]


def expanded(tensor: Tensor) -> Tensor:
    return tensor.unsqueeze(0).expand(2, *tensor.shape)


def channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def parameter(tensor: Tensor) -> Tensor:
    return torch.nn.Parameter(tensor, requires_grad=tensor.is_floating_point() and tensor.dtype.itemsize > 1)


def buffer(tensor: Tensor) -> Tensor:
    return torch.nn.Buffer(tensor)


VIEWS = [lambda t: t, transposed, sliced, expanded, channels_last, parameter, buffer]


@st.composite
def state_dicts(draw: st.DrawFn) -> dict[str, Tensor]:
    """Tensors of all types and layouts; some share memory, some are the very same."""
    state: dict[str, Tensor] = {}
    for name in draw(st.lists(NAMES, min_size=1, max_size=5, unique=True)):
        if state and draw(st.integers(0, 3)) == 0:
            other = state[draw(st.sampled_from(list(state)))]
            state[name] = draw(st.sampled_from([lambda t: t, transposed, sliced, Tensor.detach]))(other)
            continue
        dtype = draw(st.sampled_from(list(DTYPES)))
        shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
        base = filled(shape, dtype, draw(st.integers(0, 2**32)))
        state[name] = draw(st.sampled_from(VIEWS))(base)
    return state


Nest = Callable[[dict[str, Tensor]], tuple[Any, str]]


def nested(key: str, **beside: Any) -> Nest:
    return lambda state: ({"epoch": 3, key: state, **beside}, key)


OTHER = {"w.other": torch.ones(50)}
NESTS: list[Nest] = [
    lambda state: (state, ""),
    lambda state: (OrderedDict(state), ""),
    *[nested(key) for key in ("state_dict_ema", "model_ema", "ema", "state_dict", "model", "module")],
    nested("state_dict", optimizer={"state": {0: {"exp_avg": torch.ones(9)}}, "param_groups": [{"lr": 0.1}]}),
    nested("model", args=Namespace(lr=0.1, path=Path("x")), best=np.float64(0.5), seeds={1, 2}),
    nested("state_dict_ema", state_dict=OTHER),
    nested("model_ema", model=OTHER, rng=torch.ones(99, dtype=torch.uint8)),
    nested("state_dict", scheduler={"steps": torch.ones(3)}, history=[torch.ones(2), (None, 1.5)]),
    nested("anything", big=2**80, text=b"\xff", scalar=np.int32(5)),
]


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def assert_same(ours: _core.Checkpoint, theirs: Mapping[str, Tensor]) -> None:
    assert [t.name for t in ours.tensors] == list(theirs)
    for info in ours.tensors:
        tensor = theirs[info.name]
        assert info.source_name == info.name
        assert (info.dtype, info.shape) == (DTYPES[tensor.dtype], tuple(tensor.shape))
        assert ours.read(info.name) == content(tensor)


def assert_tied(ours: _core.Checkpoint, theirs: Mapping[str, Tensor]) -> None:
    """Compare which tensors are the very same view of the same memory."""
    first: dict[tuple[Any, ...], str] = {}
    for info in ours.tensors:
        tensor = theirs[info.name]
        if tensor.numel() == 0:
            assert info.tied_to is None
            continue
        steps = tuple(s for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1)
        view = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), steps)
        assert info.tied_to == first.get(view)
        first.setdefault(view, info.name)


@quick
@given(state_dicts(), st.sampled_from(NESTS), st.integers(2, 5), st.booleans())
def test_torch_files_are_read_as_torch_reads_them(
    state: dict[str, Tensor], nest: Nest, protocol: int, legacy: bool
) -> None:
    whole, key = nest(state)
    legacy = legacy and not any(tensor.dtype in UNTYPED for tensor in state.values())
    with folder() as path:
        file = path / "a.pt"
        torch.save(whole, file, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
        with torch.serialization.safe_globals(SAFE_GLOBALS):
            loaded = torch.load(
                file, weights_only=protocol == 2
            )  # of the others it does not know all opcodes
        theirs = loaded[key] if key else loaded
        ours = _core.Checkpoint([file])
        assert (ours.format, ours.key) == ("torch-legacy" if legacy else "torch", key)
        assert (key, len(state), sum(t.numel() for t in state.values())) in ours.candidates
        assert_same(ours, theirs)
        assert_tied(ours, theirs)
        assert ours.numbers.get("epoch") == (3.0 if key else None)

        _core.write_checkpoint(path / "b.safetensors", ours.origin, {"format": "pt"})
        written = load_file(path / "b.safetensors")
        assert written.keys() == theirs.keys()
        for name, tensor in theirs.items():
            assert (written[name].dtype, written[name].shape) == (tensor.dtype, tensor.shape)
            assert content(written[name]) == content(tensor)


@quick
@given(state_dicts(), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_safetensors_files_are_read_as_safetensors_reads_them(
    state: dict[str, Tensor], metadata: dict[str, str]
) -> None:
    plain = {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
    with folder() as path:
        save_file(plain, path / "a.safetensors", metadata)
        loaded = load_file(path / "a.safetensors")
        ours = _core.Checkpoint([path / "a.safetensors"])
        assert ours.metadata == metadata
        assert {t.name for t in ours.tensors} == loaded.keys()
        assert_same(ours, {t.name: loaded[t.name] for t in ours.tensors})
        assert all(t.tied_to is None for t in ours.tensors)

        _core.write_checkpoint(path / "b.safetensors", ours.origin, metadata)
        again = load_file(path / "b.safetensors")
        assert again.keys() == loaded.keys()
        assert all(content(again[name]) == content(tensor) for name, tensor in loaded.items())


@settings(quick, max_examples=60)
@given(
    st.lists(NAMES, min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from(["module.", "_orig_mod."]), max_size=3),
)
def test_wrappers_are_removed_from_names(names: list[str], wrappers: list[str]) -> None:
    prefix = "".join(wrappers)
    state = {prefix + name: torch.full((2,), float(i)) for i, name in enumerate(names)}
    with folder() as path:
        torch.save(state, path / "a.pt")
        save_file(state, path / "a.safetensors")
        for file in ("a.pt", "a.safetensors"):
            ours = _core.Checkpoint([path / file])
            assert {t.name for t in ours.tensors} == set(names)
            assert {t.source_name for t in ours.tensors} == state.keys()
            assert all(ours.read(name) == content(state[prefix + name]) for name in names)
            assert dict(ours.prefixes).keys() == set(wrappers)
