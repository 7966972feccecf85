"""Durable files, digests and natural order."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from pdiff import _core


def test_write_file_replaces_and_respects_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    old = os.umask(0o027)
    try:
        _core.write_file(path, b"old")
        _core.write_file(str(path), memoryview(b"new!"))
    finally:
        os.umask(old)
    assert path.read_bytes() == b"new!"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_write_file_takes_arrays_of_any_type(tmp_path: Path) -> None:
    numbers = np.arange(6, dtype=np.float64).reshape(2, 3)
    _core.write_file(tmp_path / "a", numbers)
    assert (tmp_path / "a").read_bytes() == numbers.tobytes()
    with pytest.raises(ValueError, match="a contiguous buffer"):
        _core.write_file(tmp_path / "b", numbers.T)
    with pytest.raises(TypeError):
        _core.write_file(tmp_path / "b", "text")  # type: ignore[arg-type]
    assert not (tmp_path / "b").exists()


def test_a_missing_directory_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none/a"):
        _core.write_file(tmp_path / "none" / "a", b"")


def test_digests_of_a_file_and_of_its_bytes_agree(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(3_000_001)
    (tmp_path / "a").write_bytes(data)
    assert _core.digest_file(tmp_path / "a") == _core.digest(data)
    # The test vector of the BLAKE3 paper for the empty input.
    assert _core.digest(b"") == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


def test_natural_sort_counts_like_people() -> None:
    names = ["step-10", "step-9", "Step-1", "step-09", "step"]
    assert _core.natural_sort(names) == ["Step-1", "step", "step-09", "step-9", "step-10"]
    assert names[0] == "step-10"
