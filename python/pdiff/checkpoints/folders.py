"""Read the JSON files beside weights: the index of a sharded checkpoint, the settings of an adapter.

They are untrusted, as the weights are: sizes, types and names are checked.
"""

import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any

from pdiff.checkpoints.listing import is_weights
from pdiff.common.errors import InputError
from pdiff.common.wording import shown

_MIB = 2**20
_INDEX_BYTES = 10 * _MIB
_ADAPTER_BYTES = _MIB
_SETTINGS_BYTES = 2**16
_DEPTH = 20
_WHOLE = range(-(2**63), 2**64)
_DRIVE = re.compile(r"[A-Za-z]:")

_SETTINGS = (
    "peft_type",
    "base_model_name_or_path",
    "r",
    "lora_alpha",
    "target_modules",
    "rank_pattern",
    "alpha_pattern",
    "use_rslora",
    "use_dora",
    "fan_in_fan_out",
    "bias",
    "modules_to_save",
    "layers_to_transform",
    "layers_pattern",
    "num_virtual_tokens",
    "feedforward_modules",
)
"""What the tensors of an adapter mean depends on these, whatever their shapes."""
_UNORDERED = frozenset({"target_modules", "modules_to_save", "layers_to_transform", "feedforward_modules"})


def read_index(path: str) -> dict[str, str]:
    """Return the weight map of an index: name of each tensor → name of its file, a plain one.

    Raises `InputError` that says what is wrong, without the path.
    """
    weight_map = _read_object(path, _INDEX_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError("its weight_map is not an object with an entry for each tensor")
    for tensor, file in weight_map.items():
        if not isinstance(file, str):
            raise InputError(f"weight_map[{_short(tensor)}] is no file name but {_short(file)}")
        if not _is_plain(file):
            raise InputError(f"{_short(file)} is not the plain name of a file beside the index")
        if not is_weights(file):
            raise InputError(f"{_short(file)} is not the name of a file of weights")
    return weight_map


def read_adapter(path: str) -> dict[str, Any]:
    """Return the settings that adapters must share to be compared; what is off or empty is left out.

    Raises `InputError` that says what is wrong, without the path.
    """
    config = _read_object(path, _ADAPTER_BYTES)
    if not isinstance(config.get("peft_type"), str):
        raise InputError("its peft_type is not the name of a method such as LORA")
    settings = {}
    for name in _SETTINGS:
        value = config.get(name)
        if value not in (
            None,
            False,
            {},
            [],
        ):  # as absent: versions of PEFT differ in what they write
            settings[name] = _canonical(value, ordered=name not in _UNORDERED)
    if len(json.dumps(settings)) > _SETTINGS_BYTES:
        raise InputError(f"the settings that adapters must share take more than {_SETTINGS_BYTES:,} bytes")
    return settings


def read_companion(path: Path, limit: int, *, as_it_is: bool = False) -> bytes | None:
    """Return a JSON object of at most `limit` bytes, written anew, or any file `as_it_is`.

    None if there is none that can be copied: a link that leaves the folder (but within a Hugging Face
    cache), what is no file, too large or too deep. NaN and infinities stay, as transformers writes them.
    """
    try:
        if not _at_home(path):
            return None
        if as_it_is:
            return _read(str(path), limit)
        value = _read_object(str(path), limit, strict=False)
    except (InputError, OSError):
        return None
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _at_home(path: Path) -> bool:
    """Return whether the file is in its folder, or in the `blobs` of the cache whose snapshot that is."""
    folder, real = path.parent.resolve(), path.resolve(strict=True)
    if real.is_relative_to(folder):
        return True
    return folder.parent.name == "snapshots" and real.parent == folder.parent.parent / "blobs"


def _canonical(value: Any, ordered: bool) -> Any:
    """Return `value` such that equal settings are equal JSON: lists that are sets sorted, 16.0 as 16."""
    if isinstance(value, list) and not ordered:
        return sorted(value, key=json.dumps)
    if isinstance(value, dict):
        return {key: _canonical(value[key], ordered=True) for key in sorted(value)}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _is_plain(name: str) -> bool:
    """Return whether `name` is that of a file in the same folder, on any system."""
    return (
        name.isprintable()  # neither NUL nor a line break nor half a character
        and name not in {"", ".", ".."}
        and not any(separator in name for separator in "/\\")
        and not _DRIVE.match(name)
    )


def _read_object(path: str, limit: int, *, strict: bool = True) -> dict[str, Any]:
    """Read a JSON object of at most `limit` bytes: no duplicate keys, depth, half characters, huge numbers.

    If `strict`, no NaN and no infinities either.
    """
    try:
        value = json.loads(
            _read(path, limit).decode("utf-8"),
            object_pairs_hook=_distinct,
            parse_constant=_no_constant if strict else float,
            parse_int=_whole,
            parse_float=_finite,
        )
        json.dumps(value, ensure_ascii=False).encode()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})") from None
    except RecursionError:
        raise InputError("not JSON of sensible depth") from None
    except UnicodeEncodeError:
        raise InputError("holds half of a character (a lone surrogate)") from None
    except ValueError as error:
        raise InputError(f"not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"not a JSON object but {_short(value)}")
    _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_DEPTH):
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
        level = [each for each in level if isinstance(each, (dict, list))]
    if level:
        raise InputError("not JSON of sensible depth")


def _whole(text: str) -> int:
    if len(text) > 20 or (value := int(text)) not in _WHOLE:
        raise InputError(f"{shown(text, 30)} is no integer of 64 bits")
    return value


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise InputError(f"{shown(text, 30)} is no finite number")
    return value


def _read(path: str, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes; never waits, as a FIFO would make it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InputError("not a file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise InputError(f"larger than {limit // _MIB} MiB")
    return data


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InputError(f"{_short(twice)} is there twice")
    return values


def _no_constant(name: str) -> float:
    raise InputError(f"{name} is no JSON number")


def _short(value: Any) -> str:
    return shown(json.dumps(value), 60)
