"""Commands that write a directory, run to their end or not, and what they leave on disk."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pdiff.verification import verify

__all__ = ["Command", "Commands", "Done", "commands", "contents", "leftovers", "remove"]

ROOT = Path(__file__).parents[2]
_TIMES = ("cost", "provenance", "checksum")
"""What differs between two runs that do the same."""


@dataclass(frozen=True)
class Done:
    """What became of a command."""

    code: int
    """Negative: the signal that ended it."""
    text: str
    seconds: float
    changes: int
    """Changes of the file system that it made below the folder."""


@dataclass
class Commands:
    """A process that runs commands of pdiff in forks."""

    process: subprocess.Popen[str]

    def run(self, *argv: str | Path, **how: Any) -> Done:
        """Run a command; see `tests.hostile.driver.run` for how it may end before its time."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"argv": list(map(str, argv)), **how}) + "\n")
        self.process.stdin.flush()
        return Done(**json.loads(self.process.stdout.readline()))


@contextmanager
def commands(folder: Path, scratch: Path, *more: str) -> Iterator[Commands]:
    """Start the process, with `evaluate` for evaluations; faults concern what lies below `folder`.

    They need a C compiler.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FAULTS_FOLDER": str(folder)}
    state = scratch / "faults"
    state.write_bytes(bytes(32))
    environment["FAULTS_STATE"] = str(state)
    if (compiler := shutil.which("cc")) is not None:
        library = scratch / "faults.so"
        source = Path(__file__).with_name("faults.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        environment["LD_PRELOAD"] = str(library)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.hostile.driver", *more],
        cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        yield Commands(process)
        assert process.stdin
        process.stdin.close()


@dataclass(frozen=True)
class Command:
    """A command that writes the directory `out`, and what is there before and after it."""

    argv: tuple[str, ...]
    out: Path
    """A directory, or a file."""
    old: Path | None
    """A copy of what was there before, if anything was."""
    in_place: bool
    """Whether it adds to a directory, of which the manifest says what belongs to it."""
    new: dict[str, str] = field(default_factory=dict)
    """Contents that it leaves if nothing stops it."""
    largest: int = 0
    """Bytes of the largest file in them."""
    changes: int = 0
    """Changes of the file system that it makes."""

    def prepare(self) -> None:
        """Put everything as it was before."""
        for path in self.out.parent.iterdir():
            remove(path)
        if self.old is not None:
            (shutil.copy if self.old.is_file() else shutil.copytree)(self.old, self.out)

    def before(self) -> dict[str, str]:
        """Return the contents of `out` before."""
        return {} if self.old is None else contents(self.old, self.out.name)

    def check_old_or_new(self) -> None:
        """Fail unless `out` is what it was, or all that it is to be."""
        found, before = contents(self.out), self.before()
        if self.in_place:
            assert before.items() <= found.items() or self.new.items() <= found.items(), sorted(found)
        else:
            assert found in (before, self.new), f"neither old nor new: {sorted(found)}"
        self._verify()

    def check_rerun(self, commands: Commands) -> None:
        """Fail unless the command succeeds now, and leaves nothing but what it is to leave.

        Where nothing is changed, that is what gave `new`.
        """
        if contents(self.out) == self.before() and not leftovers(self.out):
            return
        again = () if self.in_place or "--overwrite" in self.argv else ("--overwrite",)
        done = commands.run(*self.argv, *again)
        assert done.code == 0, done.text
        found = contents(self.out)
        assert found == self.new, f"a rerun gave something else: {sorted(found)}"
        assert not (left := leftovers(self.out)), f"a rerun left {left}"
        self._verify()

    def _verify(self) -> None:
        if self.out.is_dir():
            assert verify(self.out).bad == []


def contents(path: Path, name: str = "") -> dict[str, str]:
    """Return the digest of every file below `path`, or of `path`, as `name`; times are left out."""
    if path.is_file():
        return {name or path.name: _digest(path)}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): _digest(file) for file in files}


def leftovers(out: Path) -> list[str]:
    """Return what lies beside `out`."""
    return sorted(path.name for path in out.parent.iterdir() if path != out)


def remove(path: Path) -> None:
    """Remove a file or a directory."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _digest(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix == ".json":
        record = json.loads(data)
        data = json.dumps({k: v for k, v in record.items() if k not in _TIMES}, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()
