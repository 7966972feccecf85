"""The core among threads, signals, forks and limits."""

import threading
import time
from pathlib import Path

from pdiff import _core
from tests.unit.core.scripts import interrupted, run


def sparse(path: Path, size: int) -> Path:
    """A file of zeros that takes no space."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_long_work_releases_the_gil(tmp_path: Path) -> None:
    worker = threading.Thread(target=_core.digest_file, args=[sparse(tmp_path / "zeros", 1 << 28)])
    worker.start()
    turns = 0
    while worker.is_alive():
        turns += 1
        time.sleep(0.001)
    assert turns > 10


def test_ctrl_c_interrupts_long_work(tmp_path: Path) -> None:
    script = """
        import sys
        from pdiff import _core
        print("ready", flush=True)
        try:
            _core.digest_file(sys.argv[1])
        except KeyboardInterrupt:
            print("interrupted")
    """
    path = sparse(tmp_path / "zeros", 1 << 38)
    assert interrupted(script, str(path), after=0.2) == "interrupted\n"


def test_a_fork_after_use_does_not_hang(tmp_path: Path) -> None:
    script = """
        import os, signal, sys
        from pdiff import _core
        path, expected = sys.argv[1], _core.digest_file(sys.argv[1])
        child = os.fork()
        signal.alarm(20)
        assert _core.digest_file(path) == expected
        if child == 0:
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert run(script, str(sparse(tmp_path / "zeros", 5_000_000))) == "7\n"


def test_forks_that_meet_threads_at_work_do_not_hang(tmp_path: Path) -> None:
    script = """
        import os, signal, sys, threading, warnings
        from pdiff import _core
        warnings.simplefilter("ignore")  # newer Pythons warn of exactly this
        path, stop = sys.argv[1], threading.Event()
        def work():
            while not stop.is_set():
                _core.digest_file(path)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        codes = set()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                _core.digest_file(path)
                os._exit(7)
            codes.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        stop.set()
        for thread in threads:
            thread.join()
        print(codes)
    """
    assert run(script, str(sparse(tmp_path / "zeros", 5_000_000))) == "{7}\n"


def test_a_full_disk_leaves_the_old_content_and_no_other_file(tmp_path: Path) -> None:
    script = """
        import resource, sys
        from pdiff import _core
        _core.write_file(sys.argv[1], b"old")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            _core.write_file(sys.argv[1], bytes(2000))
        except OSError as error:
            print(type(error).__name__, error.errno, error.filename == sys.argv[1])
    """
    path = tmp_path / "a"
    assert run(script, str(path)) == "OSError 27 True\n"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
