"""Read what is known of checkpoints from a table, and find the rows of a bank's members in it."""

import csv
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from pdiff.bank.manifest import Condition, Member
from pdiff.common.errors import InputError
from pdiff.common.wording import agreeing, counted, shown, some

FILE = "file"
"""Column with the name of a checkpoint: its path in the folder, its name, or that without the suffix."""

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}

Table = Mapping[str, Mapping[str, Condition]]
"""Name of a checkpoint → what is known of it."""


def read_rows(path: Path) -> list[dict[str, Condition]]:
    """Read a table: CSV with a header and commas, or JSON with one object a line.

    A value is a number, a text, or in JSON a list of numbers. Raises `InputError` for anything else, for a
    value that is not finite or is missing, and for a column that is there twice.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if path.suffix in {".jsonl", ".ndjson"}:
        lines = [line for line in text.splitlines() if line.strip()]
        return [_checked(_object(path, n, line), f"{path}, line {n}") for n, line in enumerate(lines, 1)]
    found = csv.DictReader(text.splitlines())
    _check_header(path, found.fieldnames or ())
    return [parsed_row(row, f"{path}, row {number}") for number, row in enumerate(found, 1)]


def parsed_row(row: Mapping[str, Any], where: str) -> dict[str, Condition]:
    """Return a row of texts with the numbers among them as numbers; raises `InputError`, naming `where`."""
    return _checked({name and str(name).strip(): parsed(text) for name, text in row.items()}, where)


def _check_header(path: Path, names: Sequence[str]) -> None:
    if len(names) == 1:
        seen = next((separator for separator in _SEPARATORS if separator in names[0]), None)
        if seen is not None:
            raise InputError(
                f"{path}: the columns of {shown(names[0])} are separated by {_SEPARATORS[seen]}; accepted: "
                "commas, or JSON with one object a line in a file that ends with .jsonl"
            )
    _check_once(f"{path}, header", (name.strip() for name in names))


def _check_once(where: str, names: Iterable[str]) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{where}: the column {shown(twice[0])} is there twice; accepted: each once")


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _check_once(f"{path}, line {number}", (name for name, _ in pairs))
        return dict(pairs)

    try:
        found = json.loads(line, object_pairs_hook=distinct)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {number}: no JSON ({error})") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}, line {number}: an object is wanted, not a {type(found).__name__}")
    return found


def parsed(text: Any) -> Any:
    """Return the number or the list that a text is, else the text."""
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


def shared_rows(members: Sequence[Member], table: Table) -> str | None:
    """Return what to say of members of one name, which have one row of the table; None if there are none."""
    found = defaultdict[str, list[str]](list)
    for member in members:
        if (name := named(member, table)) is not None:
            found[name].append(member.source)
    shared = {name: sources for name, sources in found.items() if len(sources) > 1}
    if not shared:
        return None
    name, sources = next(iter(shared.items()))
    rows = counted(len(shared), "row")
    return (
        f"{rows} of the table of conditions {agreeing(len(shared), 'are')} for several checkpoints each, "
        f"like {shown(name)} for {some(sources, 2)}; name them by their paths if they differ"
    )
