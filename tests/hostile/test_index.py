"""Indexes of sharded checkpoints and settings of adapters, which anybody may have written."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pdiff.checkpoints import Choice, find_checkpoints, open_checkpoints

INDEX = "model.safetensors.index.json"
SHARDS = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
MAP = {"a": SHARDS[0], "b": SHARDS[1]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sharded checkpoint of two files, and a secret outside the folder."""
    folder = tmp_path / "sharded"
    folder.mkdir()
    for name, shard in MAP.items():
        save_file({name: torch.ones(2)}, folder / shard)
    save_file({"a": torch.zeros(2)}, tmp_path / "secret.safetensors")
    write_index(folder, {"weight_map": MAP})
    return folder


def write_index(folder: Path, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / INDEX).write_text(text)


def outcome(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return the checkpoints that open, and why others do not."""
    found = find_checkpoints([folder])
    opened = open_checkpoints(found, Choice())
    refused = dict([*found.refused, *opened.refused])
    assert all("\n" not in why and len(why) < 300 for why in refused.values())
    return [checkpoint.source for checkpoint in opened.checkpoints], refused


def test_a_good_index_opens(folder: Path) -> None:
    assert outcome(folder) == (["model.safetensors"], {})


NAMES = [
    "../secret.safetensors",
    "../sharded/model-00001-of-00002.safetensors",
    "/etc/passwd",
    "C:secret.safetensors",
    "c:\\secret.safetensors",
    "..\\secret.safetensors",
    "\\\\server\\share",
    "sub/model.safetensors",
    "..",
    ".",
    "",
    "a\0b",
    "a\nb",
]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_names_that_leave_the_folder_are_refused(folder: Path, name: str) -> None:
    write_index(folder, {"weight_map": {"a": name, "b": SHARDS[1]}})
    opened, refused = outcome(folder)
    assert opened == []
    assert "is not the plain name of a file beside the index" in refused[INDEX]
    assert "\0" not in refused[INDEX]


CONTENTS = {
    "half a character": ({"weight_map": {"a": "\ud800"}}, "half of a character (a lone surrogate)"),
    "a list": ([], "not a JSON object"),
    "a number": (5, "not a JSON object"),
    "null": ("null", "not a JSON object"),
    "no map": ({"metadata": {}}, "its weight_map is not an object"),
    "an empty map": ({"weight_map": {}}, "its weight_map is not an object"),
    "a list as map": ({"weight_map": [SHARDS[0]]}, "its weight_map is not an object"),
    "a text as map": ({"weight_map": SHARDS[0]}, "its weight_map is not an object"),
    "a number as name": ({"weight_map": {"a": 5}}, 'weight_map["a"] is no file name but 5'),
    "null as name": ({"weight_map": {"a": None}}, "is no file name but null"),
    "a list as name": ({"weight_map": {"a": [SHARDS[0]]}}, "is no file name but ["),
    "empty": ("", "not valid JSON"),
    "no JSON": ("{'a'}", "not valid JSON"),
    "cut off": ('{"weight_map": {', "not valid JSON"),
    "NaN": ('{"weight_map": NaN}', "NaN is no JSON number"),
    "a key twice": (f'{{"weight_map": {{"a": "{SHARDS[0]}", "a": "{SHARDS[1]}"}}}}', '"a" is there twice'),
    "the map twice": ('{"weight_map": {}, "weight_map": {}}', '"weight_map" is there twice'),
    "deep": ("[" * 200_000, "not JSON of sensible depth"),
    "deep and closed": (
        '{"weight_map": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "not JSON of sensible depth",
    ),
    "a long number": ('{"weight_map": ' + "9" * 100_000 + "}", "is no integer of 64 bits"),
    "a missing shard": (
        {"weight_map": MAP | {"c": "model-3.safetensors"}},
        "its shard model-3.safetensors is missing",
    ),
}


@pytest.mark.parametrize(("content", "why"), CONTENTS.values(), ids=CONTENTS)
def test_wrong_types_and_malformed_json_are_refused(folder: Path, content: Any, why: str) -> None:
    write_index(folder, content)
    opened, refused = outcome(folder)
    assert opened == []
    assert why in refused[INDEX]


CONTRADICTIONS = {
    "a tensor more": (MAP | {"c": SHARDS[0]}, f"c is missing in {SHARDS[0]}"),
    "a tensor fewer": (
        {"a": SHARDS[0], "x": SHARDS[1]},
        f"{SHARDS[1]} holds b, which the index does not name",
    ),
    "another shard": (
        {"a": SHARDS[1], "b": SHARDS[0]},
        f"a is in {SHARDS[0]}, but its index says {SHARDS[1]}",
    ),
}


@pytest.mark.parametrize(("weight_map", "why"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_an_index_that_contradicts_its_shards_is_refused(
    folder: Path, weight_map: dict[str, str], why: str
) -> None:
    write_index(folder, {"weight_map": weight_map})
    opened, refused = outcome(folder)
    assert opened == []
    assert why in refused["model.safetensors"]


def test_an_index_of_more_than_10_mib_is_refused(folder: Path) -> None:
    for size in (10 * 2**20 + 1, 2**40):
        with (folder / INDEX).open("r+b") as file:
            file.truncate(size)
        opened, refused = outcome(folder)
        assert opened == []
        assert refused[INDEX] == "larger than 10 MiB"


def test_an_index_that_is_no_file_is_refused_at_once(folder: Path) -> None:
    (folder / INDEX).unlink()
    os.mkfifo(folder / INDEX)
    opened, refused = outcome(folder)
    assert opened == []
    assert refused[INDEX] == "not a file"


def test_a_link_out_of_the_folder_is_the_owners_choice(folder: Path) -> None:
    """Hubs keep the files elsewhere and link them; the index itself cannot make such a link."""
    (folder / SHARDS[0]).rename(folder.parent / "blob")
    (folder / SHARDS[0]).symlink_to(folder.parent / "blob")
    assert outcome(folder) == (["model.safetensors"], {})


ADAPTERS = {
    "a list": ("[]", "not a JSON object"),
    "no method": ('{"r": 8}', "its peft_type is not the name of a method"),
    "too large": (" " * (2**20 + 1), "larger than 1 MiB"),
    "no UTF-8": (b"\xff\xfe", "not valid JSON"),
}


@pytest.mark.parametrize(("content", "why"), ADAPTERS.values(), ids=ADAPTERS)
def test_malformed_adapter_settings_are_refused(tmp_path: Path, content: str | bytes, why: str) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "adapter_model.safetensors")
    data = content.encode() if isinstance(content, str) else content
    (tmp_path / "adapter_config.json").write_bytes(data)
    opened, refused = outcome(tmp_path)
    assert opened == []
    assert why in refused["adapter_model.safetensors"]
