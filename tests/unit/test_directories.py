"""Output directories are whole or absent, and nobody else's is replaced."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pdiff.artifacts import write_json
from pdiff.directories import prepare_directory, staged_directory
from pdiff.errors import UsageError

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
        "import os, signal, sys, pathlib; from pdiff.directories import staged_directory\n"
        "with staged_directory(pathlib.Path(sys.argv[1]), 'm'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "out"], check=False)
    (dead,) = tmp_path.iterdir()
    with staged_directory(tmp_path / "out", MARKER) as alive:
        assert not dead.exists()
        with staged_directory(tmp_path / "out", MARKER):
            assert alive.exists()


def test_a_process_killed_while_replacing_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / MARKER).write_text("old")
    code = (
        "import os, pathlib, signal, sys; from pdiff.directories import staged_directory\n"
        "rename = pathlib.Path.rename\n"
        "def killed(self, target):\n"
        "    if '.staged-' in self.name: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return rename(self, target)\n"
        "pathlib.Path.rename = killed\n"
        f"with staged_directory(pathlib.Path(sys.argv[1]), '{MARKER}', overwrite=True): pass"
    )
    assert subprocess.run([sys.executable, "-c", code, out], check=False).returncode == -9
    assert not out.exists()
    with pytest.raises(UsageError, match="not empty"), staged_directory(out, MARKER):
        pass
    assert (out / MARKER).read_text() == "old"
    with staged_directory(out, MARKER, overwrite=True) as staged:
        (staged / MARKER).write_text("new")
    assert (out / MARKER).read_text() == "new"
    assert list(tmp_path.iterdir()) == [out]


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
