"""`python -m tests.hostile.driver [evaluate]`: runs commands of pdiff, each in a fork, some not to the end.

Reads a request a line (JSON) and answers with what became of it. Importing torch once, not for each of a
hundred runs, is what this is for; the parent itself runs no command, so that its forks have all their
threads.
"""

import ctypes
import gc
import importlib
import json
import mmap
import os
import resource
import select
import signal
import struct
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from pdiff import cli
from pdiff.common.provenance import provenance
from pdiff.generation import card

DEADLINE = 60
MODULES = [
    "pdiff.bank", "pdiff.generation.extract", "pdiff.generation.sample",
    "pdiff.cli.collect", "pdiff.cli.convert", "pdiff.cli.export", "pdiff.cli.generate",
    "pdiff.cli.console", "rich.progress", "rich._emoji_codes",
]  # fmt: skip
"""What the commands import when they are first used, rich's parts included."""
EVALUATION = [
    "pdiff.evaluation.evaluate", "pdiff.report", "pdiff.cli.evaluate", "tests.hostile.quick",
    "pdiff.generators.average", "pdiff.generators.interpolation", "pdiff.generators.noise",
    "torch.fx.experimental.symbolic_shapes",
]  # fmt: skip
"""What an evaluation imports besides; torch's last one for networks that add in place."""
HUGE_PAGE = 2**21
MADV_COLLAPSE = 25


def child(argv: list[str], log: int, limit: int | None, whole: bool) -> None:
    """Run one command as `python -m pdiff` would, or as `quick` says; never returns."""
    code = 70
    try:
        if not whole:
            importlib.import_module("tests.hostile.quick").quick()
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout, sys.stderr = (os.fdopen(fd, "w", buffering=1, closefd=False) for fd in (1, 2))
        sys.argv = ["pdiff", *argv]
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        signal.alarm(DEADLINE)
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(
            log, f"\0{time.monotonic()}".encode()
        )  # what follows, giving back memory, is long and no command
    finally:
        os._exit(code)


def run(request: dict[str, Any], faults: mmap.mmap) -> dict[str, Any]:
    """Run `argv`; with `after`, until that many seconds have passed, with `at`, until that many changes.

    Unless it is `whole`, an evaluation is `quick`.
    """
    fault = (request.get("at", 0), request.get("errno", 0), request.get("always", 0), 0)
    faults[:] = struct.pack("4q", *fault)
    reader, log = os.pipe()  # not a file, whose size would be limited too
    pid = os.fork()
    if pid == 0:
        child(request["argv"], log, request.get("limit"), request.get("whole", True))
    begin = time.monotonic()  # as the wait below begins: the fork itself may take longer than the command
    os.close(log)
    if (after := request.get("after")) is not None:
        end = os.pidfd_open(pid)
        select.select([end], [], [], after)
        os.close(end)
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read().decode("utf-8", "replace")
    _, status = os.waitpid(pid, 0)
    text, _, end = text.partition("\0")
    seconds = float(end or time.monotonic()) - begin
    changes = struct.unpack("4q", faults[:])[3]
    return {"code": os.waitstatus_to_exitcode(status), "text": text, "seconds": seconds, "changes": changes}


def prepare(modules: list[str]) -> None:
    """Do once what every command would do: import modules, look at the platform, compile the card."""
    for module in modules:
        importlib.import_module(module)
    provenance()
    card._environment().get_template("card.md")
    gc.collect()
    gc.freeze()  # or each fork's collections go through, and so copy, all that was imported
    collapse()


def collapse() -> None:
    """Move this process's memory to huge pages, if the kernel can, so that a fork has fewer to copy."""
    libc = ctypes.CDLL(None)
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, access, *_, inode = line.split()[:5]
        begin, end = (int(address, 16) // HUGE_PAGE * HUGE_PAGE for address in addresses.split("-"))
        begin += HUGE_PAGE  # not below what is ours
        if access == "rw-p" and inode == "0" and begin < end:
            libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), MADV_COLLAPSE)


def main() -> None:
    """Answer requests until there are no more."""
    prepare(MODULES + (EVALUATION if sys.argv[1:] == ["evaluate"] else []))
    path = Path(os.environ["FAULTS_STATE"])
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 32) as faults:
        for line in sys.stdin:
            print(json.dumps(run(json.loads(line), faults)), flush=True)


if __name__ == "__main__":
    main()
