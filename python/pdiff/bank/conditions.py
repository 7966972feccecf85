"""Read what is known of checkpoints from a table, and turn it into the vectors of conditions."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import torch
from torch import Tensor

from pdiff.bank.manifest import Condition, Member
from pdiff.common.errors import InputError, UsageError, unknown
from pdiff.common.wording import counted, some

FILE = "file"
"""Column with the name of a checkpoint: its path in the folder, its name, or that without the suffix."""

Table = Mapping[str, Mapping[str, Condition]]
"""Name of a checkpoint → what is known of it."""


def read_rows(path: Path) -> list[dict[str, Condition]]:
    """Read a table: CSV with a header, or JSON with one object a line.

    A value is a number, a text, or in JSON a list of numbers. Raises `InputError` for anything else, and for
    a value that is not finite or is missing.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if path.suffix in {".jsonl", ".ndjson"}:
        lines = [line for line in text.splitlines() if line.strip()]
        return [_checked(_object(path, n, line), f"{path}, line {n}") for n, line in enumerate(lines, 1)]
    found = csv.DictReader(text.splitlines())
    return [parsed_row(row, f"{path}, row {number}") for number, row in enumerate(found, 1)]


def parsed_row(row: Mapping[str, Any], where: str) -> dict[str, Condition]:
    """Return a row of texts with the numbers among them as numbers; raises `InputError`, naming `where`."""
    return _checked({name and str(name).strip(): _parsed(text) for name, text in row.items()}, where)


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {number}: no JSON ({error})") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}, line {number}: an object is wanted, not a {type(found).__name__}")
    return found


def _parsed(text: Any) -> Any:
    text = text.strip() if isinstance(text, str) else text
    try:
        return json.loads(text) if isinstance(text, str) and text.startswith("[") else float(text)
    except (TypeError, ValueError):
        return text


def _checked(row: Mapping[str, Any], where: str) -> dict[str, Condition]:
    found: dict[str, Condition] = {}
    for name, value in row.items():
        try:
            number = float(value) if isinstance(value, int | float) else value
        except OverflowError:
            number = math.inf
        numbers = number if isinstance(number, list) else [number]
        is_list = isinstance(number, list) and all(isinstance(each, int | float) for each in number)
        if name is None or not (isinstance(number, float | str) or is_list):
            what = type(value).__name__ if name is not None else "value without a column"
            raise InputError(f"{where}: {name!r} is a {what}; accepted: numbers, text, lists of numbers")
        if number in ("", []) or any(isinstance(each, float) and not math.isfinite(each) for each in numbers):
            raise InputError(f"{where}: {name!r} is missing or not finite")
        found[str(name)] = [float(each) for each in number] if isinstance(number, list) else number
    return found


def read_table(path: Path) -> Table:
    """Read a table whose column `file` names checkpoints; `InputError` for none, and for one named twice."""
    table: dict[str, dict[str, Condition]] = {}
    for number, row in enumerate(read_rows(path), 1):
        name = row.pop(FILE, None)
        if not isinstance(name, str | float):
            raise InputError(f"{path}, row {number}: no column {FILE!r}, which names a checkpoint")
        if str(name) in table:
            raise InputError(f"{path}: {name} stands there twice")
        table[str(name)] = row
    return table


def conditioned(members: Sequence[Member], table: Table) -> tuple[Member, ...]:
    """Return the members with what the table knows of them; `InputError` for one that it lacks."""
    found, lacking = [], []
    for member in members:
        name = named(member, table)
        if name is None:
            lacking.append(member.source)
        else:
            found.append(msgspec.structs.replace(member, conditions=dict(table[name])))
    if lacking:
        rows = counted(len(lacking), "checkpoint")
        raise InputError(f"the table of conditions has no row for {rows}: {some(lacking, 2)}")
    return tuple(found)


def named(member: Member, table: Table) -> str | None:
    """Return the name that a member has in the table; None if it is not there."""
    path = PurePosixPath(member.source)
    return next((name for name in (str(path), path.name, path.stem) if name in table), None)


@dataclass(frozen=True)
class Encoder:
    """Turns conditions into vectors of C numbers, by what the members of a bank have.

    Numbers are standardised over the members, lists of numbers place by place; a text is one of the members'
    texts, as ones and zeros.
    """

    names: tuple[str, ...]
    texts: Mapping[str, tuple[str, ...]]
    """Of each condition that is a text: what there is, sorted."""
    mean: Tensor
    std: Tensor
    """Of the raw vectors, f64 [C]: 0 and 1 for texts."""

    @staticmethod
    def of(members: Sequence[Member], names: Sequence[str]) -> "Encoder":
        """Return the encoder of `names`, which members have from a table or their own metadata.

        Raises `UsageError` for a name that not every member has, or has in another form.
        """
        known = sorted(set.intersection(*(set(known_of(member)) for member in members)))
        for name in names:
            if name not in known:
                raise unknown("condition", name, known)
        rows = [known_of(member) for member in members]
        texts = {}
        for name in names:
            kinds = {(type(row[name]), len(v) if isinstance(v := row[name], list) else 0) for row in rows}
            if len(kinds) > 1:
                raise UsageError(f"condition {name!r} has several forms: numbers, texts or lists are wanted")
            if isinstance(rows[0][name], str):
                texts[name] = tuple(sorted({str(row[name]) for row in rows}))
        raw = Encoder(tuple(names), texts, torch.zeros(1), torch.ones(1))
        vectors = torch.stack([raw.encode(row) for row in rows]).double()
        std, mean = torch.std_mean(vectors, dim=0, correction=0)
        is_text = torch.cat([torch.full((raw.width(rows[0], n),), n in texts) for n in names])
        mean, std = mean.masked_fill(is_text, 0), std.masked_fill(is_text, 1)
        return Encoder(tuple(names), texts, mean, std.where(std > 0, 1.0))

    def width(self, row: Mapping[str, Condition], name: str) -> int:
        """Return how many numbers of a vector are of one condition."""
        value = row[name]
        return len(self.texts[name]) if name in self.texts else len(value) if isinstance(value, list) else 1

    def encode(self, row: Mapping[str, Condition]) -> Tensor:
        """Return the vector of one model's conditions: f32 [C].

        Raises `UsageError` for one that is missing, of another form, or a text that no member has.
        """
        parts = []
        for name in self.names:
            if name not in row:
                raise UsageError(f"condition {name!r} is missing; {some(self.names)} are asked for")
            value = row[name]
            if name in self.texts:
                value = next((t for t in self.texts[name] if value in (t, _parsed(t))), value)
                if value not in self.texts[name]:
                    raise unknown(f"value of {name}", str(value), self.texts[name])
                parts.append(torch.tensor([float(value == each) for each in self.texts[name]]))
            elif isinstance(value, str):
                raise UsageError(f"condition {name!r} is {value!r}; a number is wanted")
            else:
                parts.append(torch.tensor(value if isinstance(value, list) else [value]))
        vector = torch.cat(parts).double()
        if len(self.mean) not in {1, len(vector)}:
            raise UsageError(f"{len(vector)} numbers of {some(self.names)}; {len(self.mean)} are wanted")
        return ((vector - self.mean) / self.std).float()

    def of_members(self, members: Sequence[Member]) -> Tensor:
        """Return the members' vectors: f32 [K, C]."""
        return torch.stack([self.encode(known_of(member)) for member in members])


def known_of(member: Member) -> dict[str, Condition]:
    """Return what is known of a member: its own metadata, and over it what a table says."""
    return {**member.metrics, **member.conditions}
