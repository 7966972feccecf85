"""Reading a file in a process that may take only so much memory and time."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Outcome", "each_opened", "opened"]

MIB = 2**20

_SCRIPT = """
import json, os, resource, signal, sys, time
from pdiff import _core

def status(field):
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(field + ":"))

def read(path, room, seconds):
    _core.open_checkpoints([])
    peak = status("VmHWM")
    limit = status("VmSize") + room
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.alarm(seconds)
    begin = time.process_time()
    try:
        checkpoint = _core.Checkpoint([path])
        for tensor in checkpoint.tensors[:2]:
            checkpoint.read(tensor.name)
        outcome = "read"
    except (_core.InputError, OSError) as error:
        outcome = f"{type(error).__name__}: {error}"
    took = time.process_time() - begin
    print(json.dumps([outcome, status("VmHWM") - peak, took]), flush=True)

room, seconds, *paths = sys.argv[1:]
for path in paths:
    child = os.fork()  # before the core has threads
    if child == 0:
        read(path, int(room), int(seconds))
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, f"{path}: exit code {code}"
"""


@dataclass(frozen=True)
class Outcome:
    """What became of opening a file and reading its first two tensors."""

    text: str
    """`read`, or the error."""
    memory: int
    """Bytes that were needed beyond those of the interpreter."""
    seconds: float
    """Of the processor, which others may use at the same time; the alarm goes by the clock."""


def opened(path: Path, *, room: int = 256 * MIB, seconds: int = 20) -> Outcome:
    """Read `path` with at most `room` more bytes of address space; fails if a signal ends that."""
    (outcome,) = each_opened(path, room=room, seconds=seconds)
    return outcome


def each_opened(*paths: Path, room: int = 256 * MIB, seconds: int = 20) -> list[Outcome]:
    """Read each of `paths` as `opened` does, in a process of its own that is forked from one for all."""
    command = [sys.executable, "-c", _SCRIPT, str(room), str(seconds), *map(str, paths)]
    # Each thread's own arena takes 64 MiB of addresses without using them, or not, as threads happen to run.
    one_arena = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=one_arena)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}"
    return [Outcome(*json.loads(line)) for line in done.stdout.splitlines()]
