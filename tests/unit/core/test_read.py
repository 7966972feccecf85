"""Headers of safetensors files, and what is refused in their place."""

import os
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from pdiff import _core
from tests.unit.core.checkpoints import tensors


def test_read_header_lists_tensors_and_metadata(sources: list[Path]) -> None:
    infos, metadata = _core.read_header(sources[2])
    assert metadata == {"step": "2"}
    found = {t.name: (t.dtype, t.shape, t.end - t.begin) for t in infos}
    assert found == {
        "bn.running_var": ("F32", (3,), 12),
        "fc10.weight": ("F32", (2, 4), 32),
        "fc9.weight": ("F16", (5,), 10),
        "steps": ("I64", (), 8),
    }
    assert [t.begin for t in infos] == sorted(t.begin for t in infos)
    data = sources[2].read_bytes()
    weight = next(t for t in infos if t.name == "fc9.weight")
    assert data[weight.begin : weight.end] == tensors(2)["fc9.weight"].tobytes()


def test_a_malformed_file_is_an_input_error_of_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(_core.InputError, match=r"^\S*model\.safetensors: not a safetensors file") as info:
        _core.read_header(path)
    assert "\n" not in str(info.value)
    assert isinstance(info.value, _core.PdiffError)


def test_a_file_that_cannot_be_read_is_an_os_error_with_its_path(tmp_path: Path) -> None:
    missing = tmp_path / "missing.safetensors"
    with pytest.raises(FileNotFoundError) as info:
        _core.read_header(missing)
    assert info.value.filename == str(missing)
    assert str(info.value) == f"[Errno 2] No such file or directory: '{missing}'"
    with pytest.raises(NotADirectoryError):
        _core.digest_file(Path(__file__) / "x")


@pytest.mark.parametrize("read", [_core.read_header, _core.digest_file, _core.Shard])
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
    assert len(_core.read_header(path)[0]) == 4
    path.write_bytes(b"")
    with pytest.raises(_core.InputError, match="weights"):
        _core.read_header(path)
