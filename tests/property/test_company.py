"""What stands beside the weights, of every kind that people save, against what torch loads."""

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import itertools
import logging
import operator
import pathlib
import random
import re
import types
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pdiff import _core
from tests.property.test_checkpoints import folder
from tests.support import content


@dataclasses.dataclass
class Config:
    lr: float = 0.1
    layers: tuple[int, ...] = (1, 2)


@dataclasses.dataclass(slots=True)
class Slots:
    a: int = 1


class Color(enum.Enum):
    RED = 1


class Flags(enum.IntFlag):
    A = 1


class Settings(dict[str, int]):
    pass


class Names(list[str]):
    pass


class Name(str):
    __slots__ = ()


class Count(int):
    pass


class Everything:
    """Uses all that `__reduce__` can give."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Settings, (), {"x": 1}, None, iter([("a", 1)])


class Meter:
    """Has a state of its own form."""

    def __getstate__(self) -> tuple[Any, ...]:
        return 1, {"seen": torch.ones(2)}

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


Point = collections.namedtuple("Point", "x y")


def function() -> None: ...


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.ones(500, requires_grad=True)], 0.1, momentum=0.9)


KINDS: dict[str, Callable[[], Any]] = {
    "a dataclass": Config,
    "slots": Slots,
    "an enum": lambda: Color.RED,
    "flags": lambda: Flags.A,
    "a namedtuple": lambda: Point(1, 2),
    "a dict of a subclass": lambda: Settings(a=1),
    "a list of a subclass": lambda: Names("a"),
    "a str of a subclass": lambda: Name("a"),
    "an int of a subclass": lambda: Count(3),
    "a class": lambda: Config,
    "a function": lambda: function,
    "a builtin": lambda: len,
    "a partial": lambda: functools.partial(function, 1),
    "range": lambda: range(3),
    "slice": lambda: slice(1, 2),
    "Ellipsis": lambda: ...,
    "NotImplemented": lambda: NotImplemented,
    "complex": lambda: 1j,
    "ChainMap": lambda: collections.ChainMap({"a": 1}),
    "OrderedDict": lambda: collections.OrderedDict(a=1),
    "Counter": lambda: collections.Counter("aab"),
    "deque": lambda: collections.deque([1]),
    "defaultdict": lambda: collections.defaultdict(list, a=[1]),
    "defaultdict of a function": lambda: collections.defaultdict(function, a=1),
    "UserDict": lambda: collections.UserDict(a=1),
    "SimpleNamespace": lambda: types.SimpleNamespace(a=1),
    "Namespace": lambda: argparse.Namespace(a=1),
    "Path": lambda: pathlib.Path("a"),
    "datetime": lambda: datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    "Decimal": lambda: decimal.Decimal("1.5"),
    "Fraction": lambda: fractions.Fraction(1, 2),
    "UUID": lambda: uuid.UUID(int=1),
    "a pattern": lambda: re.compile("a"),
    "an exception": lambda: ValueError("x"),
    "a logger": lambda: logging.getLogger("a"),
    "Random": lambda: random.Random(1),
    "count": lambda: itertools.count(2),
    "itemgetter": lambda: operator.itemgetter(1),
    "bytearray": lambda: bytearray(b"ab"),
    "a long integer": lambda: 2**100,
    "RandomState": lambda: np.random.RandomState(1),
    "Generator": lambda: np.random.default_rng(1),
    "an array": lambda: np.arange(3.0),
    "an array of objects": lambda: np.array([Config()], dtype=object),
    "an array of texts": lambda: np.array(["a"]),
    "a masked array": lambda: np.ma.array([1, 2], mask=[0, 1]),
    "an array of fields": lambda: np.zeros(2, dtype=[("a", "f4")]),
    "a NumPy number": lambda: np.float64(1),
    "a NumPy date": lambda: np.datetime64("2020-01-01"),
    "a NumPy type": lambda: np.dtype("f4"),
    "a loss": lambda: nn.CrossEntropyLoss(weight=torch.ones(3)),
    "a list of modules": lambda: [nn.Linear(2, 2)],
    "a function of torch": lambda: nn.functional.relu,
    "an optimiser": optimizer,
    "a scheduler": lambda: torch.optim.lr_scheduler.StepLR(optimizer(), 3),
    "a dtype": lambda: torch.float32,
    "a device": lambda: torch.device("cpu"),
    "a size": lambda: torch.Size([1]),
    "a version": lambda: torch.__version__,
    "all of __reduce__": Everything,
    "a state": Meter,
}
PLACES: dict[str, Callable[[dict[str, Tensor], Any], Any]] = {
    "beside": lambda state, other: {"state_dict": state, "cfg": other},
    "deep": lambda state, other: {"hyper_parameters": {"x": [1, {"y": other}]}, "state_dict": state},
    "before": lambda state, other: {"other": (other,), "net": state},
}
STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.zeros(3, dtype=torch.float16)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_company_leaves_the_weights_readable(tmp_path: Path, kind: str) -> None:
    for protocol in (2, 3, 4, 5):
        for new in (False, True):
            for place in PLACES.values():
                file = tmp_path / "a.pt"
                whole = place(STATE, KINDS[kind]())
                torch.save(whole, file, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
                ours = _core.Checkpoint([file])
                theirs = torch.load(file, weights_only=False)[ours.key]
                assert {t.name: ours.read(t.name) for t in ours.tensors} == {
                    name: content(tensor) for name, tensor in theirs.items()
                }
                assert all(name.startswith("object") for name in ours.left_out)


def test_a_class_of_ours_is_named(tmp_path: Path) -> None:
    torch.save({**STATE, "cfg": Config(), "range": range(3)}, tmp_path / "a.pt")
    assert _core.Checkpoint([tmp_path / "a.pt"]).left_out == ["cfg", "range", f"object of {__name__}.Config"]


ARRAYS = st.sampled_from(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "c8"])


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """An array of any bits, in the order of C or Fortran, or of neither."""
    dtype = np.dtype(draw(ARRAYS))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    most = 128 if draw(st.booleans()) else 256  # so that all of it is ASCII
    bits = np.random.default_rng(draw(st.integers(0, 2**32))).integers(
        0, 2 if dtype.kind == "b" else most, size, dtype=np.uint8
    )
    array = np.frombuffer(bits.tobytes(), dtype).reshape(shape)
    layouts = [
        lambda a: a,
        np.asfortranarray,
        np.copy,
        lambda a: a.T,
        lambda a: a[..., ::-1] if a.ndim else a,
    ]
    return draw(st.sampled_from(layouts))(array)


@settings(deadline=None, derandomize=True, max_examples=400)
@given(
    st.dictionaries(st.sampled_from(["a", "b.c", "w"]), arrays(), min_size=1),
    st.integers(2, 5),
    st.booleans(),
    st.booleans(),
)
def test_arrays_are_read_as_torch_reads_them(
    state: dict[str, np.ndarray[Any, Any]], protocol: int, new: bool, nested: bool
) -> None:
    with folder() as path:
        file = path / "a.pt"
        whole = {"model": state, "epoch": 3} if nested else state
        torch.save(whole, file, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
        loaded = torch.load(file, weights_only=False)
        theirs = loaded["model"] if nested else loaded
        ours = _core.Checkpoint([file])
        assert [t.name for t in ours.tensors] == list(theirs)
        for info in ours.tensors:
            array = theirs[info.name]
            assert info.shape == array.shape
            assert ours.read(info.name) == array.tobytes()
            assert info.dtype == {"f": "F", "i": "I", "u": "U", "b": "BOOL", "c": "C"}[array.dtype.kind] + (
                "" if array.dtype.kind == "b" else str(8 * array.itemsize)
            )
        _core.write_checkpoint(path / "b.safetensors", ours.origin)
        again = _core.Checkpoint([path / "b.safetensors"])
        assert all(again.read(name) == array.tobytes() for name, array in theirs.items())


def test_arrays_of_no_numbers_are_left_out_by_name(tmp_path: Path) -> None:
    state = {
        "w": np.arange(3.0),
        "x": np.arange(3.0),
        "y": np.arange(3.0),
        "texts": np.array(["a"]),
        "big-endian": np.arange(3, dtype=">i4"),
        "wide": np.zeros(2, dtype=np.complex128),
    }
    torch.save(state, tmp_path / "a.pt")
    ours = _core.Checkpoint([tmp_path / "a.pt"])
    assert {t.name for t in ours.tensors} == {"w", "x", "y"}
    assert ours.left_out == ["texts", "big-endian", "wide"]
