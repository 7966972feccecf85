"""Files: checked when read, the same bytes when written again."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from pdiff.artifacts import read_record, write_json, write_tensors
from pdiff.errors import InputError


def test_json_is_checked_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": [1, 0.5, "é"]})
    assert read_record(path, dict) == json.loads(path.read_text()) == {"a": [1, 0.5, "é"]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"))
    path.write_text("{")
    with pytest.raises(InputError, match=r"x.json: damaged \(Input data was truncated\)"):
        read_record(path, dict)


def test_the_same_tensors_and_metadata_give_the_same_bytes(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(3), "a": torch.ones(2, 3).T}
    metadata = {str(index): "é" * index for index in range(9)}
    contents = set()
    for attempt in range(5):
        write_tensors(tmp_path / str(attempt), tensors, dict(reversed(metadata.items())))
        contents.add((tmp_path / str(attempt)).read_bytes())
    assert len(contents) == 1
    with safe_open(tmp_path / "0", "pt") as file:
        assert file.metadata() == metadata
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in tensors.items())
