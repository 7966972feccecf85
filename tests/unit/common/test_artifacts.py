"""Files: checked when read, the same bytes when written again."""

import json
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from pdiff.common.artifacts import read_record, write_json
from pdiff.common.errors import InputError
from pdiff.common.tensors import read_checkpoint, write_tensors


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


def test_a_checkpoint_of_thousands_of_tensors_is_read_in_time_linear_in_them(tmp_path: Path) -> None:
    state = {f"layer{i}.weight": torch.full((3,), float(i)) for i in range(4000)}
    state["tied"] = state["layer7.weight"]
    torch.save({"a.b": state}, tmp_path / "x.pt")
    begin = time.process_time()
    found = read_checkpoint([tmp_path / "x.pt"], ["a.b"])
    assert time.process_time() - begin < 3
    assert list(found) == list(state)
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    assert found["tied"] is found["layer7.weight"]


@pytest.mark.parametrize("dtype", [torch.float8_e8m0fnu, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz])
def test_every_float8_of_torch_is_read(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.tensor([1.0, 2.0, 4.0]).to(dtype)
    torch.save({"w": tensor, "empty": torch.empty(0, 2)}, tmp_path / "x.pt")
    found = read_checkpoint([tmp_path / "x.pt"])
    assert found["w"].dtype == dtype
    assert torch.equal(found["w"].float(), tensor.float())
    assert found["empty"].shape == (0, 2)
