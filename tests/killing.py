"""Processes that are killed at their first, second, … step towards the disk."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pdiff import _core

CORE = ("write_shards", "write_tensors", "write_file", "write_checkpoint", "statistics", "digest_file")
SYSTEM = ("rename", "unlink", "fsync", "rmdir")
ENOUGH = 10_000


def in_child(action: Callable[[], object], kill_at: int = ENOUGH) -> bool:
    """Run `action` in a fork that SIGKILL ends before step `kill_at`; returns whether it came to its end.

    The calling process must not have used the core's threads, which a fork does not inherit.
    """
    child = os.fork()
    if child == 0:
        try:
            _count(kill_at)
            action()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0, "the child failed"
    return True


def kills(action: Callable[[], object]) -> Iterator[int]:
    """Run `action` again and again, killed one step later each time, until it comes to its end."""
    step = 0
    while not in_child(action, step):
        yield step
        step += 1


def _count(kill_at: int) -> None:
    left = [kill_at]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return function(*arguments, **options)

        return call

    for module, names in ((_core, CORE), (os, SYSTEM)):
        for name in names:
            setattr(module, name, counted(getattr(module, name)))


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below `folder`."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def drive(function: Callable[[Path], None], folder: Path) -> None:
    """Call `function(folder)` in a process of its own, which may fork."""
    code = (
        "import pathlib, sys, torch; torch.set_num_threads(1)\n"
        f"from {function.__module__} import {function.__name__} as run; run(pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
