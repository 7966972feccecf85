"""What is on disk is the old or the new, whole, whenever a command is killed or its writes fail."""

import errno
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import save_file

from pdiff.bank import collect
from pdiff.common.config import Config
from pdiff.generators.train import train
from tests.hostile.commands import Command, Commands, commands, contents, leftovers
from tests.support import TINY, checkpoint

KILLS = 12
ENDS = 6
"""Changes at the beginning and the end that are all made to fail."""
CASES = ["collect", "collect --overwrite", "collect --extend", "generate", "generate --overwrite",
         "rows", "rows --overwrite", "export", "export --overwrite",
         "convert", "convert --overwrite"]  # fmt: skip

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of checkpoints, a bank of one of them and a run of that."""
    scratch = tmp_path_factory.mktemp("kills")
    for name, first in (("one", 0), ("two", 1000)):
        (scratch / name).mkdir()
        for index in range(first, first + 12):
            save_file(checkpoint(index), scratch / name / f"step-{index}.safetensors")
    bank = collect(scratch / "one", out=scratch / "bank")
    train(bank, out=scratch / "run", config=Config.build("default", settings=[*TINY, "denoiser.depth=1"]))
    (scratch / "work").mkdir()
    return scratch


@pytest.fixture(scope="module")
def driver(scratch: Path) -> Iterator[Commands]:
    """The process that runs the commands."""
    with commands(scratch / "work", scratch) as driver:
        yield driver


@pytest.fixture(scope="module", params=CASES)
def command(request: pytest.FixtureRequest, scratch: Path, driver: Commands) -> Command:
    """A command, with what it leaves when nothing stops it."""
    name, _, how = request.param.partition(" ")
    shutil.rmtree(scratch / "work")
    (scratch / "work").mkdir()
    out = scratch / "work" / ("out.safetensors" if name == "convert" else "out")
    one, two = (
        {
            "collect": ("collect", str(scratch / source), "--out", str(out)),
            "generate": ("generate", str(scratch / "run"), "--n", "4", "--seed", seed, "--out", str(out)),
            "rows": (
                *("generate", str(scratch / "run"), "--format", "rows", "--n", "4"),
                *("--seed", seed, "--out", str(out)),
            ),
            "export": ("export", str(scratch / "bank"), "--members", f"0-{seed}", "--out", str(out)),
            "convert": ("convert", str(next((scratch / source).iterdir())), "--out", str(out)),
        }[name]
        for source, seed in (("one", "1"), ("two", "2"))
    )
    old = None
    if how:
        old = scratch / f"old {request.param}"
        done = driver.run(*one)
        assert done.code == 0, done.text
        out.rename(old)
    command = Command((*two, how) if how else two, out, old, in_place=how == "--extend")
    command.prepare()
    done = driver.run(*command.argv)
    assert done.code == 0, done.text
    largest = max(path.stat().st_size for path in (out, *out.rglob("*")) if path.is_file())
    return replace(command, new=contents(out), largest=largest, changes=done.changes)


def test_sigkill_at_random_moments(command: Command, driver: Commands) -> None:
    rng = random.Random(0)
    command.prepare()
    duration = driver.run(*command.argv).seconds
    ended = []
    for step in range(KILLS):
        command.prepare()
        done = driver.run(*command.argv, after=(step + rng.random()) / KILLS * duration)
        ended.append(done.code)
        if done.code == 0:  # the first run may have taken longer, and so may others on a busy machine
            duration = min(duration, done.seconds)
        command.check_old_or_new()
        command.check_rerun(driver)
    assert ended.count(-signal.SIGKILL) >= KILLS // 2, ended


def first_line(error: AssertionError) -> str:
    return next(iter(str(error).splitlines()), "")


def numbers(command: Command, most: int) -> list[int]:
    """Return which of the changes of the file system are to fail: the first, the last, and `most` between."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    assert command.changes > 3
    if command.changes <= 2 * ENDS + most:
        return list(range(1, command.changes + 1))
    between = range(ENDS, command.changes - ENDS)
    chosen = {between[index * len(between) // most] for index in range(most)}
    return sorted({1 + n for n in (*range(ENDS), *chosen, *range(command.changes - ENDS, command.changes))})


def test_sigkill_before_every_change(command: Command, driver: Commands) -> None:
    failures = []
    for number in numbers(command, most=12):
        command.prepare()
        done = driver.run(*command.argv, at=number)
        assert done.code == -signal.SIGKILL, done.text
        try:
            command.check_old_or_new()
            command.check_rerun(driver)
        except AssertionError as error:
            failures.append(f"{number}: {first_line(error)}")
    assert failures == []


@pytest.mark.parametrize(
    ("number", "always"), [(errno.EIO, False), (errno.ENOSPC, True)], ids=["one EIO", "ENOSPC from then on"]
)
def test_a_failing_write_is_one_line_and_changes_nothing(
    command: Command, driver: Commands, number: int, always: bool
) -> None:
    failures = []
    for at in numbers(command, most=8 if always else 30):
        command.prepare()
        done = driver.run(*command.argv, at=at, errno=number, always=int(always))
        try:
            check_failure(command, done.code, done.text)
        except AssertionError as error:
            failures.append(f"{at}: {first_line(error)}")
    assert failures == []


def check_failure(command: Command, code: int, text: str) -> None:
    """Fail unless a command that could not write said so, and left everything as it was."""
    said = next(iter(text.splitlines()[-1:]), "nothing")
    assert not (left := leftovers(command.out)), f"{left} is left: {said}"
    found = contents(command.out)
    if code == 0:  # it could do without (a folder that is there already)
        assert found == command.new, f"exit code 0 with {sorted(found)}"
        return
    assert code == 1, f"exit code {code}: {said}"
    assert "Traceback" not in text, said
    assert said.startswith("pdiff: "), said
    assert text.count("pdiff: ") == 1, text
    assert found in (command.before(), command.new), f"exit code 1 with {sorted(found)}: {said}"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_file_size_limit_is_one_line_and_changes_nothing(
    command: Command, driver: Commands, share: float
) -> None:
    command.prepare()
    done = driver.run(*command.argv, limit=int(share * command.largest))
    check_failure(command, done.code, done.text)
    assert "File too large" in done.text
    command.check_rerun(driver)


def test_reruns_after_a_failure_leave_what_belongs_to_others(
    scratch: Path, driver: Commands, tmp_path: Path
) -> None:
    """Only what a killed run of the same command left is removed."""
    foreign = [".out.tmp", "out.staged-x", ".other.staged-abc", "notes.txt"]
    for name in foreign:
        (tmp_path / name).mkdir()
    done = driver.run("collect", scratch / "two", "--out", tmp_path / "out")
    assert done.code == 0, done.text
    assert leftovers(tmp_path / "out") == sorted(foreign)
