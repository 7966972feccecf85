"""What an inspection reports: plain values, which `msgspec.to_builtins` turns into JSON."""

from typing import Any

import msgspec

from pdiff.checkpoints.tensors import FLOATING

__all__ = ["BankFacts", "Inspection", "KindFacts", "LeftAside", "Nested", "Range", "TensorFacts"]


class TensorFacts(msgspec.Struct, frozen=True):
    """One tensor of a kind."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    numbers: int
    varies: bool | None
    """Whether it differs between the checkpoints; None if that is unknown."""
    tied_to: str | None = None
    sampled: bool = False
    """Whether `varies` is false only for samples of the tensor: no difference was seen."""

    @property
    def taken(self) -> bool:
        """Whether `collect` would generate it: it varies, and can be modelled."""
        return self.varies is True and self.dtype in FLOATING


class Range(msgspec.Struct, frozen=True):
    """The values of a number that checkpoints carry beside their weights."""

    checkpoints: int
    low: float
    high: float


class Nested(msgspec.Struct, frozen=True):
    """A dictionary of tensors within a torch file."""

    key: str
    tensors: int
    numbers: int


class LeftAside(msgspec.Struct, frozen=True):
    """A file that is not taken."""

    name: str
    why: str


class KindFacts(msgspec.Struct, frozen=True):
    """The checkpoints of one network."""

    checkpoints: int
    bytes: int
    """Of all their files together."""
    example: str
    """The first of them, of which the difference, format, dictionaries, prefixes and entries left out are."""
    difference: str | None
    """From the kind with most checkpoints, if it is another."""
    format: str
    shape: str
    """`file`, `sharded` or `adapter`."""
    files: int
    """Of the example."""
    parameters: int
    """Floating numbers in one checkpoint."""
    numbers: int
    """Numbers of any type in one checkpoint."""
    varying: int | None
    """Floating numbers in the tensors that vary: what `collect` takes."""
    compared: str
    """`bytes`, `samples` or, where it could not be done, why not."""
    keys: dict[str, int]
    """Where in the file the weights are (empty: at its top) → checkpoints."""
    averaged: int
    """Checkpoints of which averaged (EMA) weights are meant."""
    dictionaries: list[Nested]
    prefixes: dict[str, int]
    """Wrappers that were removed from names → names."""
    left_out: list[str]
    adapter: dict[str, Any]
    metrics: dict[str, Range]
    tensors: list[TensorFacts]


class BankFacts(msgspec.Struct, frozen=True):
    """A bank, as its manifest describes it."""

    path: str
    format: int
    members: int
    dim: int
    shards: int
    bytes: int
    """Of all files of the bank."""
    task: dict[str, Any] | None
    metrics: dict[str, Range]
    tensors: list[TensorFacts]


class Inspection(msgspec.Struct, frozen=True):
    """What was found below some paths."""

    checkpoints: int
    kinds: list[KindFacts]
    """The one with most checkpoints first."""
    banks: list[BankFacts]
    skipped: list[LeftAside]
    refused: list[LeftAside]
