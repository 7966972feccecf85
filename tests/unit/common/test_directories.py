"""Output directories are whole or absent, and nobody else's is replaced."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pdiff import _core
from pdiff.bank import Bank, collect
from pdiff.common.artifacts import write_json
from pdiff.common.directories import locked, prepare_directory, require_space, staged_directory
from pdiff.common.errors import UsageError
from pdiff.generation.sample import generate
from pdiff.training import Run
from tests.command import pdiff

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
        "import os, signal, sys, pathlib; from pdiff.common.directories import staged_directory\n"
        "with staged_directory(pathlib.Path(sys.argv[1]), 'm'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "out"], check=False)
    (dead,) = tmp_path.iterdir()
    with staged_directory(tmp_path / "out", MARKER) as alive:
        assert not dead.exists()
        with staged_directory(tmp_path / "out", MARKER):
            assert alive.exists()


def test_a_process_killed_while_replacing_in_two_steps_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / MARKER).write_text("old")
    code = (
        "import os, pathlib, signal, sys; from pdiff.common.directories import staged_directory\n"
        "import errno; from pdiff import _core\n"
        "def refused(*paths): raise OSError(errno.EINVAL, 'no exchange here')\n"
        "_core.exchange = refused\n"
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


@pytest.mark.parametrize("two_steps", [False, True])
def test_a_replacement_that_fails_leaves_the_old_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_steps: bool
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / MARKER).write_text("old")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if ".staged-" in self.name:
            raise KeyboardInterrupt
        return rename(self, target)

    def interrupted(*_: Path) -> None:
        raise OSError(errno.EINVAL, "no exchange here") if two_steps else KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", failing)
    monkeypatch.setattr(_core, "exchange", interrupted)
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


def test_a_directory_that_appears_while_the_block_runs_is_not_touched(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    with pytest.raises(UsageError, match="not empty"), staged_directory(out, MARKER) as staged:
        (staged / MARKER).write_text("new")
        out.mkdir()
        (out / "thesis.tex").write_text("precious")
    assert (out / "thesis.tex").read_text() == "precious"
    assert list(tmp_path.iterdir()) == [out]


def test_overwrite_removes_only_what_holds_the_marker_in_the_end(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / MARKER).write_text("old")
    with pytest.raises(UsageError, match="holds no marker"), staged_directory(out, MARKER, True) as staged:
        (staged / MARKER).write_text("new")
        out.rename(tmp_path / "away")
        out.mkdir()
        (out / "thesis.tex").write_text("precious")
    assert (out / "thesis.tex").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["away", "out"]


@pytest.mark.parametrize("two_steps", [False, True])
def test_what_an_exchange_brings_out_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_steps: bool
) -> None:
    """Another directory takes the place between the last look and the exchange."""
    out = tmp_path / "out"
    out.mkdir()
    (out / MARKER).write_text("old")
    exchange, calls = _core.exchange, []

    def late(one: Path, other: Path) -> None:
        if not calls:
            out.rename(tmp_path / "away")
            out.mkdir()
            (out / MARKER).write_text("another's")
        calls.append(one)
        if two_steps:
            raise OSError(errno.EINVAL, "no exchange here")
        exchange(one, other)

    monkeypatch.setattr(_core, "exchange", late)
    with (
        pytest.raises(UsageError, match="put there meanwhile"),
        staged_directory(out, MARKER, True) as staged,
    ):
        (staged / MARKER).write_text("new")
    assert (out / MARKER).read_text() == "another's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["away", "out"]


def test_a_file_that_appears_at_the_last_moment_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, rename = tmp_path / "out", Path.rename

    def late(self: Path, target: Path) -> Path:
        target.mkdir()
        (target / "thesis.tex").write_text("precious")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    with pytest.raises(UsageError, match="something was put there"), staged_directory(out, MARKER):
        pass
    assert (out / "thesis.tex").read_text() == "precious"
    assert list(tmp_path.iterdir()) == [out]


def test_a_disk_that_fails_in_the_end_is_told_of_and_leaves_the_new_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / MARKER).write_text("old")

    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output"), staged_directory(out, MARKER, True) as staged:
        (staged / MARKER).write_text("new")
    assert (out / MARKER).read_text() == "new"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_without_locks_on_the_file_system_nobody_is_kept_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path, "extending"), staged_directory(tmp_path / "out", MARKER) as staged:
        (staged / MARKER).write_text("new")
    assert (tmp_path / "out" / MARKER).read_text() == "new"


@pytest.fixture
def nearly_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with 4,096 bytes left for users."""
    status = SimpleNamespace(f_bavail=1, f_bfree=10**9, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _: status)


def test_what_does_not_fit_is_refused_with_both_numbers(nearly_full: None, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "bank"
    require_space(out, 4096)
    message = f"{out}: needs 4.5 GB, 4.1 kB are free on {tmp_path}; name another with --out"
    with pytest.raises(UsageError) as caught:
        require_space(out, 4_500_000_000)
    assert str(caught.value) == message


def test_collect_and_extend_ask_first(
    bank: Bank, ckpts: Path, tmp_path: Path, nearly_full: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("pdiff._core.write_shards", None)
    for options in ({"out": tmp_path / "b"}, {"out": bank.path, "extend": True}):
        with pytest.raises(UsageError, match="needs 1.1 MB, 4.1 kB are free on"):
            collect(ckpts, **options)  # type: ignore[arg-type]
    assert sorted(tmp_path.rglob("*")) == before


def test_generate_asks_first(
    make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    model = (run.bank.path / "base.safetensors").stat().st_size
    free = SimpleNamespace(f_bavail=3 * model, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda _: free)
    with pytest.raises(UsageError, match="g: needs 2.3 kB, 1.7 kB are free"):
        generate(run, n=4, out=tmp_path / "g")
    assert not (tmp_path / "g").exists()
    generate(run, n=3, out=tmp_path / "g")


@pytest.mark.parametrize("limit", [200, 1024, 1300, 2000])
def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing(ckpts: Path, tmp_path: Path, limit: int) -> None:
    """Rows, base, statistics and manifest are of different sizes: each limit stops at another."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        result = pdiff(tmp_path, "collect", str(ckpts))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.returncode == 1
    assert "File too large" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["ckpts"]
