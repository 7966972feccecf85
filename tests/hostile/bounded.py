"""Reading a file in a process that may take only so much memory and time."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Outcome", "opened"]

MIB = 2**20

_SCRIPT = """
import json, resource, signal, sys, time
from pdiff import _core

def status(field):
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(field + ":"))

_core.open_checkpoints([])
path, room, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
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
print(json.dumps([outcome, status("VmHWM") - peak, took]))
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
    command = [sys.executable, "-c", _SCRIPT, str(path), str(room), str(seconds)]
    # Each thread's own arena takes 64 MiB of addresses without using them, or not, as threads happen to run.
    one_arena = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=one_arena)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}"
    return Outcome(*json.loads(done.stdout))
