"""`pdiff evaluate`, killed at random and run again, and run by two processes: nothing twice, nothing else."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pdiff.bank import Bank
from pdiff.evaluation.inference.cache import FILE
from tests.hostile.commands import ROOT, Commands, Done, commands
from tests.unit.evaluation.waves import NORMS, Residual, save_bank

KILLS = 4
MEMBERS = 12
GENERATED_MODELS = 4

TASK = """
import time
from tests.unit.evaluation.waves import Waves

class Slow(Waves):
    def error(self, outputs, targets):
        time.sleep(0.002)  # so that most of the command's time goes into predictions
        return super().error(outputs, targets)

factory = Slow
"""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with generated checkpoints, their bank and the file of their task."""
    place = tmp_path_factory.mktemp("evaluate")
    torch.manual_seed(0)
    bank = save_bank(place, Residual().eval(), NORMS, members=MEMBERS)
    (place / "task.py").write_text(TASK)
    write_generated(bank, place / "generated")
    return place


def write_generated(bank: Bank, folder: Path) -> None:
    """Write averages of members."""
    folder.mkdir()
    for index in range(GENERATED_MODELS):
        state = bank.state_dict(bank.batch([index, index + 1]).mean(dim=0))
        save_file(state, folder / f"model-{index:04d}.safetensors")


def arguments(place: Path, out: Path, cache: Path) -> list[str]:
    task = ["--task", f"{place / 'task.py'}:factory", "--arch", "residual", "--batch-size", "26"]
    few = ["--baselines-n", "2"]
    models = [str(place / "generated"), "--bank", str(place / "bank")]
    return ["evaluate", *models, "--out", str(out), "--cache", str(cache), *task, *few]


def cached(cache: Path) -> list[str]:
    """Return the keys of all records, and a stranger for each that was written over."""
    if not (cache / FILE).is_file():
        return []
    with closing(sqlite3.connect(cache / FILE)) as database:
        keys = [key for (key,) in database.execute("SELECT key FROM records ORDER BY key")]
        (written,) = database.execute("SELECT MAX(rowid) FROM records").fetchone()
    return keys + ["written over"] * ((written or 0) - len(keys))


def judgement(out: Path) -> dict[str, Any]:
    """Return what does not depend on when and where the command ran."""
    results: dict[str, Any] = json.loads((out / "results.json").read_text())
    results.pop("cost")
    results["provenance"] = results["provenance"]["digests"]
    return results


@pytest.fixture(scope="module")
def driver(place: Path) -> Iterator[Commands]:
    with commands(place, place, "evaluate") as driver:
        yield driver


@pytest.fixture(scope="module")
def whole(place: Path, driver: Commands) -> Done:
    """An evaluation that nothing stopped, in `whole`, with its predictions in `cache`."""
    done = driver.run(*arguments(place, place / "whole", place / "cache"), whole=False)
    assert done.code == 0, done.text
    return done


def test_after_a_kill_only_the_model_in_progress_is_run_again(
    place: Path, driver: Commands, whole: Done
) -> None:
    models = cached(place / "cache")
    assert len(set(models)) == len(models) > MEMBERS + GENERATED_MODELS
    expected, rng, before = judgement(place / "whole"), random.Random(0), []
    for step in range(KILLS):
        cache, out = place / f"cache-{step}", place / f"out-{step}"
        after = (0.2 + 0.8 * (step + rng.random()) / KILLS) * whole.seconds
        code = driver.run(*arguments(place, out, cache), after=after, whole=False).code
        assert code == -signal.SIGKILL or out.exists()
        before.append(len(cached(cache)))
        assert len(set(cached(cache))) == before[-1]
        again = driver.run(*arguments(place, out, cache), "--overwrite", whole=False)
        assert again.code == 0, again.text
        assert sorted(cached(cache)) == sorted(models), "some were run twice, or others were"
        assert judgement(out) == expected
        shutil.rmtree(cache)
    assert any(0 < number < len(models) for number in before), f"no kill in the middle: {before}"


def test_without_a_cache_nothing_is_cached(place: Path, driver: Commands) -> None:
    default = Path(os.environ["PDIFF_CACHE"])
    out, before = place / "without", cached(default)
    start = arguments(place, out, place)
    start = start[: start.index("--cache")] + start[start.index("--cache") + 2 :]
    done = driver.run(*start, "--no-cache", whole=False)
    assert done.code == 0, done.text
    assert cached(default) == before
    done = driver.run(*start, "--overwrite", "--cache", place / "task.py" / "below a file", whole=False)
    assert done.code == 0, done.text
    assert done.text.count("predictions are computed without a cache") == 1, done.text
    done = driver.run(*start, "--overwrite", whole=False)
    assert done.code == 0, done.text
    assert len(cached(default)) > len(before)


@pytest.mark.usefixtures("whole")
def test_two_processes_give_what_one_gives(place: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    paths = [str(ROOT / "python"), str(ROOT)]
    environment["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, sys.path)])
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    models = arguments(place, place / "two", place / "cache of two")
    done = subprocess.run(
        [*launch, "-m", "tests.hostile.quick", *models, "--json"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert judgement(place / "two") == judgement(place / "whole")
    assert json.loads(done.stdout) == json.loads((place / "two" / "results.json").read_text())
    # populations may share a model (an average of all members), which both processes may then run
    assert set(cached(place / "cache of two")) == set(cached(place / "cache"))
