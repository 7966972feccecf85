"""Read settings from TOML files and `--set section.key=value`, and put them over plain values."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdiff.common.errors import UsageError, unknown


def read_toml(file: Path) -> dict[str, Any]:
    """Read a TOML file; raises `UsageError` that names it."""
    try:
        return tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{file}: {error}") from None


def toml(values: Mapping[str, Any]) -> str:
    """Return values, nested one level, as TOML."""
    sections = {key: value for key, value in values.items() if isinstance(value, dict)}
    plain = {key: value for key, value in values.items() if key not in sections}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]  # a JSON scalar is a TOML scalar
    for name, section in sections.items():
        lines += ["", f"[{name}]", toml(section)]
    return "\n".join(lines)


def explained(message: str, values: Any) -> str:
    """Return msgspec's message with the key before it and the value that was given, where it is one value."""
    what, _, path = message.partition(" - at `$.")
    given = values
    for key in path.removesuffix("`").split("."):
        given = given.get(key) if isinstance(given, dict) else None
    if not path or given is None or isinstance(given, dict):
        return message
    return f"{path.removesuffix('`')} = {given!r}: {what}"


def parse(setting: str) -> dict[str, Any]:
    """Turn `a.b=value` into {"a": {"b": value}}; the value is read as TOML, or else as a bare string."""
    path, equals, text = setting.partition("=")
    if not equals or not path:
        raise UsageError(f"--set {setting}: expected section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def merge(values: dict[str, Any], changes: Mapping[str, Any], where: str, path: str = "") -> None:
    """Replace entries of `values` in place; a key that is not there is refused with a suggestion."""
    for key, value in changes.items():
        full = f"{path}{key}"
        if key not in values:
            raise UsageError(f"{where}: {unknown('key', full, [f'{path}{key}' for key in values])}")
        if isinstance(values[key], dict):
            if not isinstance(value, Mapping):
                keys = ", ".join(values[key])
                raise UsageError(f"{where}: {full} is a section; set one of its keys ({keys})")
            merge(values[key], value, where, f"{full}.")
        else:
            values[key] = value
