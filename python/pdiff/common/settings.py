"""Read settings from TOML files and `--set section.key=value`, and put them over plain values."""

import ast
import copy
import inspect
import json
import textwrap
import tomllib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import msgspec

from pdiff.common.errors import UsageError, nearest, unknown


def read_toml(file: Path) -> dict[str, Any]:
    """Read a TOML file; raises `UsageError` that names it."""
    try:
        return tomllib.loads(file.read_text())
    except FileNotFoundError:
        raise UsageError(f"{file}: no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{file}: {getattr(error, 'strerror', None) or error}") from None


def toml(values: Mapping[str, Any], path: str = "") -> str:
    """Return nested values as TOML; `path` is the dotted name of the section that they are, and a dot."""
    sections = {key: value for key, value in values.items() if isinstance(value, dict)}
    plain = {key: value for key, value in values.items() if key not in sections}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]  # a JSON scalar is a TOML scalar
    for name, section in sections.items():
        lines += ["", f"[{path}{name}]", toml(section, f"{path}{name}.")]
    return "\n".join(lines)


def variants(kind: type) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the default values of each kind of the sections that have several: {section: {kind: values}}."""
    return {
        field.name: {
            str(each.__struct_config__.tag): msgspec.to_builtins(each()) for each in get_args(field.type)
        }
        for field in msgspec.structs.fields(kind)
        if isinstance(field.type, UnionType)
    }


def described_fields(
    kind: type, values: Mapping[str, Any] | None = None, path: str = ""
) -> dict[str, tuple[str, str]]:
    """Return what each value of a struct accepts, and its docstring in one line, by dotted keys.

    Docstrings are the strings that follow the fields in the source, of the class and of those it comes from.
    Of a section with several kinds, the fields are those of the kind in `values`, and `kind` lists all.
    """
    lines: dict[str, str] = {}
    for each in reversed([c for c in kind.__mro__ if c.__module__ == kind.__module__]):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        for field, after in pairwise(getattr(tree, "body", [])):
            text = (
                getattr(getattr(after, "value", None), "value", None) if isinstance(after, ast.Expr) else None
            )
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, str)
            ):
                lines[field.target.id] = " ".join(text.split())
    found: dict[str, tuple[str, str]] = {}
    for field in msgspec.structs.fields(kind):
        below = (values or {}).get(field.name)
        section = below if isinstance(below, Mapping) else {}
        if isinstance(field.type, UnionType):
            kinds = {str(each.__struct_config__.tag): each for each in get_args(field.type)}
            found[f"{path}{field.name}.kind"] = " or ".join(kinds), lines.get(field.name, "")
            if chosen := kinds.get(section.get("kind", "")):
                found |= described_fields(chosen, section, f"{path}{field.name}.")
        elif isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found |= described_fields(field.type, section, f"{path}{field.name}.")
        else:
            found[path + field.name] = (_accepted(field.type), lines.get(field.name, ""))
    return found


def _accepted(kind: Any) -> str:
    """Return in words what a type of a field accepts: `conv or pca`, `int >= 1`."""
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"list of {_accepted(get_args(kind)[0])}"
    base, *metas = get_args(kind) or (kind,)
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = [
        f"{sign} {getattr(meta, name)}"
        for meta in metas
        for name, sign in signs.items()
        if getattr(meta, name, None) is not None
    ]
    return " ".join([base.__name__, " and ".join(bounds)]).strip()


def explained(message: str, values: Any, accepted: Mapping[str, tuple[str, str]]) -> str:
    """Return the key of msgspec's message, the value that was given and what is accepted.

    `accepted` is that of `described_fields`; a message about anything but one of its keys is returned.
    """
    key = message.partition(" - at `$.")[2].partition("[")[0].removesuffix("`")
    if key not in accepted:
        return message
    given, choices = values, accepted[key][0]
    for name in key.split("."):
        given = given[name]
    return f"{key} is {given!r}; {nearest(str(given), choices.split(' or '))}accepted: {choices}"


def setting(key: str, value: Any) -> str:
    """Write what `parse` reads: `train.steps=7`, `condition=["accuracy"]`."""
    return f"{key}={json.dumps(value) if isinstance(value, list | tuple | bool) else value}"


def parse(text: str) -> dict[str, Any]:
    """Turn `a.b=value` into {"a": {"b": value}}; the value is read as TOML, or else as a bare string."""
    path, equals, given = text.partition("=")
    if not equals or not path:
        raise UsageError(f"--set {text}: expected section.key=value")
    try:
        value = tomllib.loads(f"value = {given}")["value"]
    except tomllib.TOMLDecodeError:
        value = given
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def merge(
    values: dict[str, Any],
    changes: Mapping[str, Any],
    where: str,
    kinds: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    path: str = "",
) -> None:
    """Replace entries of `values` in place; a key that is not there is refused with a suggestion.

    Where a change names another kind of a section (`kinds`, see `variants`), the section first becomes that
    kind's default values.
    """
    for key, value in changes.items():
        full = f"{path}{key}"
        if key not in values:
            raise UsageError(f"{where}: {unknown('key', full, [f'{path}{key}' for key in values])}")
        if isinstance(values[key], dict):
            if not isinstance(value, Mapping):
                keys = ", ".join(values[key])
                raise UsageError(f"{where}: {full} is a section; set one of its keys ({keys})")
            other = (kinds or {}).get(full, {}).get(value.get("kind", values[key].get("kind")))
            if other and other["kind"] != values[key]["kind"]:
                values[key] = copy.deepcopy(dict(other))
            merge(values[key], value, where, kinds, f"{full}.")
        else:
            values[key] = value
