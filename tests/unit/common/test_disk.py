"""Free disk space is checked before anything is written."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pdiff.bank import Bank, collect
from pdiff.common.disk import require_space
from pdiff.common.errors import UsageError
from pdiff.common.wording import size_text
from pdiff.generation import generate
from pdiff.training import Run


@pytest.fixture
def nearly_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with 4,096 bytes left for users."""
    status = SimpleNamespace(f_bavail=1, f_bfree=10**9, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _: status)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (340_000_000, "340 MB"),
        (4_500_000_000, "4.5 GB"),
        (9_960_000, "10 MB"),
        (999_700, "1 MB"),
        (12 * 10**15, "12000 TB"),
    ],
)
def test_sizes_are_for_people(size: int, text: str) -> None:
    assert size_text(size) == text


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
    result = subprocess.run(
        [sys.executable, "-m", "pdiff", "collect", str(ckpts)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert result.returncode == 1
    assert "File too large" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["ckpts"]
