"""Processes that are killed at their first, second, … step towards the disk.

Steps are calls of the core and of the system from Python; what the core does within one of them,
`tests/hostile/test_kills.py` interrupts at every call of the system.
"""

import os
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdiff import _core
from tests import forks

if TYPE_CHECKING:
    from subprocess import Popen

WRITES = (
    *("write_shards", "write_statistics", "write_tensors", "write_file", "write_checkpoint"),
    *("exchange", "remove_stale"),
)
READS = ("digest_file",)
"""Long ones: what was written before them has had time to reach the disk."""
SYSTEM = ("mkdir", "rename", "unlink", "fsync", "rmdir")
NEVER = -1


def in_child(action: Callable[[], object]) -> None:
    """Run `action` to its end in a fork, as `kills` does: the caller's modules and threads stay unused."""
    assert _killed(action, NEVER) is None


def kills(action: Callable[[], object]) -> Iterator[str]:
    """Run `action` again and again, killed one step later each time, until it comes to its end.

    Yields the name of the step that it was killed before.
    """
    for number in count():
        step = _killed(action, number)
        if step is None:
            return
        yield step


def _killed(action: Callable[[], object], kill_at: int) -> str | None:
    """Run `action` in a fork that SIGKILL ends before step `kill_at`; return its name, None at the end.

    The calling process must not have used the core's threads, which a fork does not inherit.
    """
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _count(kill_at, tell)
            action()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        name = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return name
    assert os.WEXITSTATUS(status) == 0, "the child failed"
    return None


def _count(kill_at: int, tell: int) -> None:
    steps = count()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if next(steps) == kill_at:
                os.write(tell, name.encode())
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    for module, names in ((_core, WRITES + READS), (os, SYSTEM)):
        for name in names:
            setattr(module, name, counted(name, getattr(module, name)))


def finish(process: "Popen[str] | forks.Forked") -> tuple[str, str]:
    """Wait for a process that should end by itself, and return what it prints; kill it if it does not."""
    try:
        return process.communicate(timeout=60)
    finally:
        process.kill()


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below `folder`."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def drive(function: Callable[[Path], None], folder: Path) -> None:
    """Call `function(folder)` in a process of its own, which may fork."""
    code = f"from {function.__module__} import {function.__name__} as run; run(pathlib.Path(sys.argv[1]))"
    done = forks.run(f"import pathlib, sys; {code}", folder)
    assert done.returncode == 0, done.stderr
