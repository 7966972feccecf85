"""Headers of safetensors files, and what is refused in their place."""

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pdiff import _core
from tests.unit.core.checkpoints import tensors


def test_a_checkpoint_lists_tensors_and_metadata(sources: list[Path]) -> None:
    checkpoint = _core.Checkpoint([sources[2]])
    assert (checkpoint.format, checkpoint.key, checkpoint.left_out) == ("safetensors", "", [])
    assert checkpoint.metadata == {"step": "2"}
    assert checkpoint.numbers == {"step": 2.0}
    assert checkpoint.size == sources[2].stat().st_size
    assert checkpoint.candidates == [("", 4, 3 + 8 + 5 + 1)]
    found = {t.name: (t.source_name, t.dtype, t.shape, t.file, t.tied_to) for t in checkpoint.tensors}
    assert found == {
        "bn.running_var": ("bn.running_var", "F32", (3,), 0, None),
        "fc10.weight": ("fc10.weight", "F32", (2, 4), 0, None),
        "fc9.weight": ("fc9.weight", "F16", (5,), 0, None),
        "steps": ("steps", "I64", (), 0, None),
    }
    assert {name: checkpoint.read(name) for name in found} == {
        name: values.tobytes() for name, values in tensors(2).items()
    }
    with pytest.raises(_core.InputError, match=r'step-2\.safetensors: holds no tensor "x"'):
        checkpoint.read("x")


def test_kinds_tell_networks_apart(tmp_path: Path, sources: list[Path]) -> None:
    kinds = {_core.Checkpoint([path]).kind for path in sources}
    assert len(kinds) == 1
    save_file(tensors(0) | {"fc9.weight": np.zeros(5, np.float32)}, tmp_path / "other")
    save_file({name: values for name, values in tensors(0).items() if name != "steps"}, tmp_path / "fewer")
    assert len(kinds | {_core.Checkpoint([tmp_path / name]).kind for name in ("other", "fewer")}) == 3


def test_several_files_are_one_checkpoint(tmp_path: Path) -> None:
    whole = tensors(0)
    names = sorted(whole)
    parts = [tmp_path / "1", tmp_path / "2"]
    for path, part in zip(parts, (names[:1], names[1:]), strict=True):
        save_file({name: whole[name] for name in part}, path)
    save_file(whole, tmp_path / "whole")
    checkpoint, single = _core.Checkpoint(parts), _core.Checkpoint([tmp_path / "whole"])
    assert checkpoint.kind == single.kind
    assert {t.name: t.file for t in checkpoint.tensors} == dict(zip(names, [0, 1, 1, 1], strict=True))
    assert all(checkpoint.read(name) == whole[name].tobytes() for name in names)
    assert checkpoint.origin.files == parts
    with pytest.raises(_core.InputError, match=r'whole: tensor ".*" is also in .*1; accepted: each name'):
        _core.Checkpoint([parts[0], tmp_path / "whole"])


def test_an_origin_notices_that_its_file_changed(sources: list[Path]) -> None:
    checkpoint, stamp = _core.Checkpoint([sources[0]]), sources[0].stat()
    origin = checkpoint.origin
    assert origin.stamp.startswith(f"{stamp.st_size}:")
    assert origin.key == ""
    save_file(tensors(0), sources[0])
    assert _core.Checkpoint([sources[0]]).origin.stamp != origin.stamp
    with pytest.raises(_core.InputError, match="changed while it was read"):
        checkpoint.read("steps")


def test_many_checkpoints_are_opened_at_once(tmp_path: Path, sources: list[Path]) -> None:
    (tmp_path / "bad").write_bytes(b"x")
    opened = _core.open_checkpoints([[sources[0]], [tmp_path / "bad"], [tmp_path / "none"], [sources[1]]])
    assert [type(o) for o in opened] == [
        _core.Summary,
        _core.InputError,
        FileNotFoundError,
        _core.Summary,
    ]


def test_a_checkpoint_is_written_as_safetensors(tmp_path: Path, sources: list[Path]) -> None:
    origin = _core.Checkpoint([sources[3]]).origin
    _core.write_checkpoint(tmp_path / "copy", origin, {"b": "2", "a": "1"})
    loaded = load_file(tmp_path / "copy")
    assert loaded.keys() == tensors(3).keys()
    assert all(loaded[name].tobytes() == values.tobytes() for name, values in tensors(3).items())
    assert _core.Checkpoint([tmp_path / "copy"]).metadata == {"b": "2", "a": "1"}
    first = (tmp_path / "copy").read_bytes()
    _core.write_checkpoint(tmp_path / "copy", origin, {"a": "1", "b": "2"})
    assert (tmp_path / "copy").read_bytes() == first


def test_a_malformed_file_is_an_input_error_of_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(_core.InputError, match=r"^\S*model\.safetensors: not a safetensors or torch") as info:
        _core.Checkpoint([path])
    assert "\n" not in str(info.value)
    assert isinstance(info.value, _core.PdiffError)


def test_a_file_that_cannot_be_read_is_an_os_error_with_its_path(tmp_path: Path) -> None:
    missing = tmp_path / "missing.safetensors"
    with pytest.raises(FileNotFoundError) as info:
        _core.Checkpoint([missing])
    assert info.value.filename == str(missing)
    assert str(info.value) == f"[Errno 2] No such file or directory: '{missing}'"
    with pytest.raises(NotADirectoryError):
        _core.digest_file(Path(__file__) / "x")


@pytest.mark.parametrize("read", [lambda path: _core.Checkpoint([path]), _core.digest_file, _core.Shard])
def test_directories_and_fifos_are_refused_at_once(tmp_path: Path, read: object) -> None:
    assert callable(read)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(_core.InputError, match="a device, FIFO or socket"):
        read(tmp_path / "fifo")
    with pytest.raises(_core.InputError, match="a directory; accepted: a file"):
        read(tmp_path)


def test_paths_need_not_be_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff weights \xc3")
    save_file(tensors(0), path)
    assert len(_core.Checkpoint([path]).tensors) == 4
    path.write_bytes(b"")
    with pytest.raises(_core.InputError, match="weights"):
        _core.Checkpoint([path])
