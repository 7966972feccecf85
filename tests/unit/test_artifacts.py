"""Files and directories are whole or absent."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from pdiff.artifacts import prepare_directory, read_record, staged_directory, write_json, write_tensors
from pdiff.errors import InputError, UsageError

MARKER = "marker.json"


def test_a_staged_directory_appears_when_the_block_succeeds(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with staged_directory(out, MARKER) as staged:
        (staged / MARKER).write_text("{}")
        assert not out.exists()
    assert (out / MARKER).read_text() == "{}"
    assert list(out.parent.iterdir()) == [out]


def test_a_failed_block_leaves_the_old_directory(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / MARKER).write_text("old")
    with pytest.raises(RuntimeError), staged_directory(out, MARKER, overwrite=True) as staged:
        (staged / MARKER).write_text("new")
        raise RuntimeError
    assert (out / MARKER).read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_overwrite_replaces_a_directory_that_holds_the_marker(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / MARKER).write_text("old")
    (out / "stray").write_text("old")
    with staged_directory(out, MARKER, overwrite=True) as staged:
        (staged / MARKER).write_text("new")
    assert [path.name for path in out.iterdir()] == [MARKER]
    assert (out / MARKER).read_text() == "new"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_that_is_not_ours_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError), staged_directory(tmp_path, MARKER, overwrite=overwrite):
        pass
    with pytest.raises(UsageError):
        prepare_directory(tmp_path, MARKER, overwrite=overwrite)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_what_a_killed_process_staged_is_cleaned_up(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, pathlib; from pdiff.artifacts import staged_directory\n"
        "with staged_directory(pathlib.Path(sys.argv[1]), 'm'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "out"], check=False)
    (dead,) = tmp_path.iterdir()
    with staged_directory(tmp_path / "out", MARKER) as alive:
        assert not dead.exists()
        with staged_directory(tmp_path / "out", MARKER):
            assert alive.exists()


def test_a_directory_behind_a_link_is_replaced_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / MARKER).write_text("old")
    (tmp_path / "link").symlink_to("real")
    with staged_directory(tmp_path / "link", MARKER, overwrite=True) as staged:
        (staged / MARKER).write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / MARKER).read_text() == "new"


def test_a_replacement_that_fails_leaves_the_old_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / MARKER).write_text("old")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if ".staged-" in self.name:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(KeyboardInterrupt), staged_directory(out, MARKER, overwrite=True):
        pass
    assert (out / MARKER).read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_resume_and_overwrite_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text("x")
    with pytest.raises(UsageError, match="choose one"):
        prepare_directory(tmp_path, MARKER, resume=True, overwrite=True)
    assert (tmp_path / MARKER).exists()


def test_files_and_directories_respect_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with staged_directory(tmp_path / "out", MARKER) as staged:
            write_json(staged / MARKER, {})
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "out" / MARKER).stat().st_mode & 0o777 == 0o640


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
