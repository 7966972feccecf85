"""Say what files, folders and banks hold: kinds of checkpoint, their tensors, and which of these vary.

The facts are plain values, which `msgspec.to_builtins` turns into JSON.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

import msgspec

from pdiff import _core
from pdiff.checkpoints.find import find_checkpoints
from pdiff.checkpoints.opening import difference, open_checkpoints
from pdiff.checkpoints.parts import whole_beside
from pdiff.checkpoints.records import FLOATING, Checkpoint, Choice, Example, Group, judged
from pdiff.common.errors import InputError
from pdiff.common.progress import SILENT, Progress, Tracker
from pdiff.common.sealing import read_sealed

_BANK = "bank.json"


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
    """`file`, `folder`, `sharded` or `adapter`."""
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
    together: list[str]
    """The dictionaries that the weights of the example are in, if they are several."""
    passed_over: list[str]
    """Keys of weights in the example that are not taken."""
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
    base: str = ""
    """The file of a whole network of which all others are parts, which `collect` takes as the base; or ""."""


class _Tensor(msgspec.Struct):
    name: str
    dtype: str
    shape: tuple[int, ...]


class _Manifest(msgspec.Struct):
    """The part of `bank.json` that is reported."""

    format: int
    dim: int
    layout: list[_Tensor]
    shards: list[Any]
    members: list[dict[str, Any]]
    task: dict[str, Any] | None = None


def inspect(
    paths: Iterable[Path], choice: Choice | None = None, progress: Progress = SILENT, *, deep: bool = False
) -> Inspection:
    """Say what the files, folders and banks at `paths` hold; nothing is written, and torch is not imported.

    Which tensors vary is judged by their first, middle and last 4 KiB (and, of torch archives, by recorded
    lengths and CRC-32 alone where these agree), or, if `deep`, by all their bytes, CRCs verified.
    Raises `InputError` for a path that does not exist or a damaged manifest, not for refused files.
    """
    roots = list(paths)
    banks = [root for root in roots if (root / _BANK).is_file()]
    found = find_checkpoints(root for root in roots if root not in banks)
    opened = open_checkpoints(found, choice or Choice(), progress)
    groups = opened.groups()
    pairs = len(opened.checkpoints) - len(groups)
    with (progress if pairs else SILENT).track("Comparing tensors", pairs, "checkpoint") as tracker:
        kinds = [_kind(group, groups[0].example, tracker, deep) for group in groups]
    return Inspection(
        checkpoints=len(opened.checkpoints),
        kinds=kinds,
        banks=[_bank(bank) for bank in banks],
        base="" if whole_beside(opened) is None else groups[1].example.candidate.source,
        skipped=[LeftAside(*note) for note in found.skipped],
        refused=[LeftAside(*note) for note in (*found.refused, *opened.refused)],
    )


def _kind(group: Group, largest: Example, tracker: Tracker, deep: bool) -> KindFacts:
    checkpoints, example = group.checkpoints, group.example
    header = example.header
    tensors = header.tensors
    if header.format == "safetensors":  # sorted by size and text there; torch keeps the network's order
        by_name = {tensor.name: tensor for tensor in tensors}
        tensors = [by_name[name] for name in _core.natural_sort(list(by_name))]
    varies, compared = _varying(checkpoints, tensors, tracker, deep)
    facts = []
    for t in tensors:
        differs, sampled = varies.get(t.name, (None, False))
        facts.append(TensorFacts(t.name, t.dtype, t.shape, prod(t.shape), differs, t.tied_to, sampled))
    known = len(checkpoints) > 1 and bool(varies)
    return KindFacts(
        checkpoints=len(checkpoints),
        bytes=_size(file for checkpoint in checkpoints for file in checkpoint.origin.files),
        example=example.candidate.source,
        difference=None if example is largest else difference(largest, example),
        format=header.format,
        shape=example.candidate.shape,
        files=len(example.candidate.files),
        parameters=sum(t.numbers for t in facts if t.dtype in FLOATING and t.tied_to is None),
        numbers=sum(t.numbers for t in facts if t.tied_to is None),
        varying=sum(t.numbers for t in facts if t.taken and t.tied_to is None) if known else None,
        compared=compared,
        keys=dict(Counter(c.origin.key for c in checkpoints).most_common()),
        together=[".".join(part) for part in header.parts if len(header.parts) > 1],
        passed_over=header.passed_over,
        averaged=sum(c.averaged for c in checkpoints),
        dictionaries=[Nested(*candidate) for candidate in header.candidates],
        prefixes=dict(header.prefixes),
        left_out=header.left_out,
        adapter=example.candidate.adapter,
        metrics=_ranges(c.metrics for c in checkpoints),
        tensors=facts,
    )


def _varying(
    checkpoints: Sequence[Checkpoint], tensors: Sequence[_core.TensorInfo], tracker: Tracker, deep: bool
) -> tuple[dict[str, tuple[bool, bool]], str]:
    """Return whether each tensor varies and was only sampled, and how that was found out; {} if unknown."""
    if len(checkpoints) < 2:
        return {}, "one checkpoint, nothing to compare it with"
    names = [t.name for t in tensors if t.tied_to is None]
    origins = [checkpoint.origin for checkpoint in checkpoints]
    try:
        found = judged(origins, names, tracker, sample=not deep, checksums=not deep)
    except (InputError, OSError) as error:
        return {}, f"not compared ({error})"
    owned = {t.name: found[t.tied_to or t.name] for t in tensors}
    varies = {name: (bool(differs), differs is None) for name, differs in owned.items()}
    return varies, "bytes" if deep else "samples"


def _bank(folder: Path) -> BankFacts:
    """Read the manifest of a bank; raises `InputError` if it is damaged."""
    manifest = read_sealed(folder / _BANK, _Manifest)
    return BankFacts(
        path=str(folder),
        format=manifest.format,
        members=len(manifest.members),
        dim=manifest.dim,
        shards=len(manifest.shards),
        bytes=_size(file for file in folder.rglob("*") if file.is_file()),
        task=manifest.task,
        metrics=_ranges(member.get("metrics", {}) for member in manifest.members),
        tensors=[TensorFacts(t.name, t.dtype, t.shape, prod(t.shape), True) for t in manifest.layout],
    )


def _size(files: Iterable[Path]) -> int:
    total = 0
    for file in files:
        with suppress(OSError):  # gone since it was found: no reason to say nothing of the others
            total += file.stat().st_size
    return total


def _ranges(metrics: Iterable[dict[str, float]]) -> dict[str, Range]:
    ranges: dict[str, Range] = {}
    for numbers in metrics:
        for name, value in numbers.items():
            seen = ranges.get(name, Range(0, value, value))
            ranges[name] = Range(seen.checkpoints + 1, min(seen.low, value), max(seen.high, value))
    return dict(sorted(ranges.items()))
