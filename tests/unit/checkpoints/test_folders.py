"""Indices and adapter settings from anybody: what is wrong is said, and nothing leaves the folder."""

import json
import os
from pathlib import Path

import pytest

from pdiff.checkpoints.folders import read_adapter, read_companion, read_index
from pdiff.common.errors import InputError


def index(tmp_path: Path, content: object) -> dict[str, str]:
    path = tmp_path / "model.safetensors.index.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return read_index(str(path))


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x.safetensors",
        "a/b.safetensors",
        "/etc/passwd",
        "a\\b.safetensors",
        "C:x.safetensors",
        "c:\\x.safetensors",
        "x\0.safetensors",
        "x\n.safetensors",
    ],
)
def test_names_that_are_not_plain_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is not the plain name of a file beside the index") as caught:
        index(tmp_path, {"weight_map": {"a": "ok.safetensors", "b": name}})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["a b.safetensors", "a..b.safetensors", "ä.safetensors", "...safetensors"])
def test_odd_but_plain_names_are_accepted(tmp_path: Path, name: str) -> None:
    assert index(tmp_path, {"weight_map": {"a": name}}) == {"a": name}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "its weight_map is not an object"),
        ({"weight_map": {}}, "its weight_map is not an object"),
        ({"weight_map": ["a"]}, "its weight_map is not an object"),
        ({"weight_map": {"a": 5}}, 'weight_map["a"] is no file name but 5'),
        ({"weight_map": {"a": None}}, 'weight_map["a"] is no file name but null'),
        ({"weight_map": {"a": ["x" * 100]}}, "…"),
        ([], "not a JSON object but []"),
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff{}", "not valid JSON"),
        (b'{"weight_map": {"a": "x", "a": "y"}}', '"a" is there twice'),
        (b'{"weight_map": {"a": "x"}, "weight_map": {"a": "y"}}', '"weight_map" is there twice'),
        (b'{"weight_map": {"a": "x"}, "n": NaN}', "NaN is no JSON number"),
        (b'{"n": ' + b"9" * 10_000 + b"}", "99…99999999999999 is no integer of 64 bits"),
        (b'{"n": 36893488147419103232}', "36893488147419103232 is no integer of 64 bits"),
        (b'{"n": 1e999}', "1e999 is no finite number"),
        (b'{"n": "\\ud800"}', "half of a character"),
        (b'{"\\ud800.safetensors": 1}', "half of a character"),
        (b'{"n": ' + b"[" * 900 + b"]" * 900 + b"}", "not JSON of sensible depth"),
        (b'{"n": ' + b"[" * 20 + b"]" * 20 + b"}", "not JSON of sensible depth"),
        ({"weight_map": {"a": "config.json"}}, '"config.json" is not the name of a file of weights'),
        ({"weight_map": {"n" * 10**6: 5}}, "is no file name but 5"),
        (b"[" * 200_000, "not JSON of sensible depth"),
        (b" " * (10 * 2**20) + b"{}", "larger than 10 MiB"),
    ],
)
def test_damaged_indices_are_refused_in_one_line(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        index(tmp_path, content)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_fifo_in_place_of_an_index_does_not_make_anybody_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "index")
    with pytest.raises(InputError, match="not a file"):
        read_index(str(tmp_path / "index"))


def test_an_index_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(No such file or directory\)"):
        read_index(str(tmp_path / "index"))


def adapter(tmp_path: Path, **settings: object) -> dict[str, object]:
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({"peft_type": "LORA", **settings}))
    return read_adapter(str(path))


def test_settings_that_mean_the_same_are_equal(tmp_path: Path) -> None:
    old = adapter(tmp_path, r=8, lora_alpha=16, target_modules=["q", "v"], inference_mode=True)
    new = adapter(
        tmp_path,
        r=8,
        lora_alpha=16.0,
        target_modules=["v", "q"],
        use_dora=False,
        rank_pattern={},
        modules_to_save=None,
    )
    assert old == new == {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q", "v"]}


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 16},
        {"lora_alpha": 32},
        {"target_modules": "all-linear"},
        {"base_model_name_or_path": "other"},
        {"rank_pattern": {"a": 4}},
        {"alpha_pattern": {"a": 4}},
        {"use_rslora": True},
        {"use_dora": True},
        {"fan_in_fan_out": True},
        {"modules_to_save": ["head"]},
        {"layers_to_transform": [1]},
    ],
)
def test_settings_that_must_agree_are_kept(tmp_path: Path, settings: dict[str, object]) -> None:
    plain: dict[str, object] = {"r": 8, "lora_alpha": 16, "target_modules": ["q"]}
    assert adapter(tmp_path, **(plain | settings)) != adapter(tmp_path, **plain)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}", "its peft_type is not the name of a method"),
        (b'{"peft_type": 3}', "its peft_type is not the name of a method"),
        (b"null", "not a JSON object but null"),
        (b" " * 2**20 + b"{}", "larger than 1 MiB"),
        (b'{"peft_type": "LORA", "r": ' + b"[" * 900 + b"]" * 900 + b"}", "not JSON of sensible depth"),
        (b'{"peft_type": "LORA", "r": 1e999}', "1e999 is no finite number"),
        (b'{"peft_type": "LORA", "r": 1' + b"0" * 4000 + b"}", "is no integer of 64 bits"),
        (b'{"peft_type": "LORA", "base_model_name_or_path": "\\ud800"}', "half of a character"),
        (
            b'{"peft_type": "LORA", "target_modules": ["' + b"x" * 70_000 + b'"]}',
            "the settings that adapters must share take more than 65,536 bytes",
        ),
    ],
)
def test_damaged_settings_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "adapter_config.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_adapter(str(path))
    assert message in str(caught.value)


def test_companions_are_json_that_is_at_home(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "config.json"
    outside = tmp_path / "secret.json"
    outside.write_text('{"password": 1}')
    assert read_companion(path, 100) is None
    path.symlink_to(outside)
    assert read_companion(path, 100) is None
    path.unlink()
    os.mkfifo(path)
    assert read_companion(path, 100) is None
    path.unlink()
    (folder / "real.json").write_text('{"b": [1, NaN],   "a": "ä"}')
    path.symlink_to("real.json")
    assert read_companion(path, 100) == '{\n  "b": [\n    1,\n    NaN\n  ],\n  "a": "ä"\n}\n'.encode()
    assert read_companion(path, 10) is None
    for text in ("[1]", "root:x:0:0", '{"a": "\\ud800"}', '{"a": ' + "[" * 900 + "]" * 900 + "}"):
        (folder / "real.json").write_text(text)
        assert read_companion(path, 10_000) is None


def test_companions_in_the_cache_of_the_hub_are_links_to_blobs(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "model" / "snapshots" / "abc", tmp_path / "model" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "123").write_text('{"a": 1}')
    (snapshot / "config.json").symlink_to("../../blobs/123")
    assert read_companion(snapshot / "config.json", 100) == b'{\n  "a": 1\n}\n'
