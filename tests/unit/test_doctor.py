"""What the doctor says of good and bad surroundings."""

import errno
import os
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from pdiff import _core, doctor
from pdiff.doctor import Check, diagnose

HERE = Path()


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_here_nothing_fails_and_nothing_is_left(tmp_path: Path) -> None:
    checks = diagnose(tmp_path)
    assert [check for check in checks if check.status == "fail"] == []
    names = ["pdiff", "import", "command", "python", "torch", "gpu", "numpy", "processors"]
    names += ["open files", "disk here", "disk temp", "file system", "writing"]
    assert [check.name for check in checks] == names
    assert _core.__version__ in by_name(checks)["pdiff"].detail
    assert all("\n" not in check.detail for check in checks)
    assert list(tmp_path.iterdir()) == []


def test_a_core_of_another_version_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: "99.0")
    status, detail = doctor._ourselves(HERE)
    assert status == "fail"
    assert f"99.0, core {_core.__version__}" in detail


@pytest.mark.parametrize("provides", [True, False])
def test_the_other_pdiff_is_noticed(monkeypatch: pytest.MonkeyPatch, provides: bool) -> None:
    if provides:
        monkeypatch.setattr(metadata, "packages_distributions", lambda: {"pdiff": ["pdiff-nn", "rival"]})
    else:
        monkeypatch.setattr(metadata, "distribution", lambda name: SimpleNamespace(name="rival"))
    expected = ("fail", "rival takes our place; uninstall it, then install pdiff-nn again")
    assert doctor._shadows(HERE) == expected


def test_a_command_from_elsewhere_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.sys, "executable", str(tmp_path / "bin" / "python"))
    found = ((str(tmp_path / "bin" / "pdiff"), "ok"), ("/usr/bin/pdiff", "warn"), (None, "warn"))
    for command, status in found:
        monkeypatch.setattr(doctor.shutil, "which", lambda _, command=command: command)
        assert doctor._command(HERE)[0] == status


@pytest.mark.parametrize(
    ("version", "status"),
    [("2.10.0", "ok"), ("2.9.1+cpu", "fail"), ("1.13.1", "fail"), ("3.0", "ok"), ("2.11.0a0+git", "ok")],
)
def test_the_floor_of_torch(monkeypatch: pytest.MonkeyPatch, version: str, status: str) -> None:
    torch = SimpleNamespace(__version__=version)
    monkeypatch.setattr(doctor.importlib, "import_module", lambda _: torch)
    assert doctor._torch(HERE)[0] == status


def test_a_torch_that_cannot_be_imported_fails_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise OSError("libcudart.so: cannot open\nmore of it")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    assert doctor._torch(HERE) == ("fail", "cannot be imported (libcudart.so: cannot open)")
    assert doctor._gpu(HERE) is None


def test_gpus_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(device_count=lambda: 2, get_device_name=lambda index: f"H{index}")
    torch = SimpleNamespace(cuda=cuda, version=SimpleNamespace(cuda="13.2"))
    monkeypatch.setattr(doctor.importlib, "import_module", lambda _: torch)
    assert doctor._gpu(HERE) == ("ok", "H0, H1 (CUDA 13.2)")


MOUNTS = r"""21 1 8:1 / / rw - ext4 /dev/sda1 rw
22 21 0:5 / /home rw shared:1 - nfs4 server:/home rw
23 22 0:6 / /home/my\040disk rw - fuse.sshfs x rw
24 21 0:7 / /work rw - xfs /dev/sdb rw
25 21 0:8 / /work rw - overlay overlay rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/tmp/x", "ext4"),
        ("/home/me", "nfs4"),
        ("/homes", "ext4"),
        ("/home/my disk/a", "fuse.sshfs"),
        ("/work", "overlay"),
    ],
)
def test_the_file_system_is_the_one_mounted_last_and_deepest(folder: str, kind: str) -> None:
    assert doctor._mounted(MOUNTS, Path(folder)) == kind


@pytest.mark.parametrize(("kind", "status"), [("ext4", "ok"), ("nfs4", "warn"), ("fuse.sshfs", "warn")])
def test_network_file_systems_are_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, status: str
) -> None:
    monkeypatch.setattr(doctor, "_mounted", lambda *_: kind)
    assert doctor._file_system(tmp_path)[0] == status


def test_a_folder_that_cannot_be_written_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, _: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(_core, "write_file", full)
    assert doctor._writing(tmp_path) == ("fail", f"{tmp_path}: No space left on device")


def test_the_load_stands_beside_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for load, status in ((0.4, "ok"), (2.5, "warn")):
        monkeypatch.setattr(doctor.os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        found, detail = doctor._processors(HERE)
        assert found == status
        assert detail.startswith(f"2 of {os.cpu_count()} usable, load {load}")
    assert detail.endswith("large networks may be faster with --threads 1")


def test_few_open_files_and_little_space_are_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.resource, "getrlimit", lambda _: (64, 64))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    assert (doctor._limits(HERE)[0], doctor._space(tmp_path)[0]) == ("warn", "warn")
