"""`pdiff evaluate`, killed at random and run again, and run by two processes: nothing twice, nothing else."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pdiff import _core
from pdiff.bank import Bank
from pdiff.common.sealing import write_sealed
from pdiff.generation import GENERATED
from pdiff.generation.generated import FORMAT
from tests.hostile.commands import ROOT, Commands, Done, commands
from tests.unit.evaluation.waves import NORMS, Residual, save_bank

KILLS = 6
MEMBERS = 24
GENERATED_MODELS = 6
HEAD = 8 + 64 + 8  # magic, key, length

TASK = """
import time
from tests.unit.evaluation.waves import Waves

class Slow(Waves):
    def correct(self, outputs, targets):
        time.sleep(0.003)  # so that most of the command's time goes into predictions
        return super().correct(outputs, targets)

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
    """Write averages of members as `generate` would."""
    folder.mkdir()
    files = [f"model-{index:04d}.safetensors" for index in range(GENERATED_MODELS)]
    for index, file in enumerate(files):
        save_file(bank.state_dict(bank.batch([index, index + 1]).mean(dim=0)), folder / file)
    info = {
        "format": FORMAT,
        "provenance": {},
        "files": files,
        "digests": {file: _core.digest_file(folder / file) for file in files},
        "seed": 7,
        "run": {"path": "run", "digest": "ab" * 32, "preset": "default"},
        "bank": {"path": str(bank.path), "digest": bank.digest},
        "cost": {"once_s": 12.5, "per_model_s": 0.25, "gradient_evaluations": 0},
    }
    write_sealed(folder / GENERATED, info)


def arguments(place: Path, out: Path, cache: Path) -> list[str]:
    task = ["--task", f"{place / 'task.py'}:factory", "--arch", "residual", "--batch-size", "13"]
    few = ["--baselines-n", "2"]
    return ["evaluate", str(place / "generated"), "--out", str(out), "--cache", str(cache), *task, *few]


def kept(cache: Path) -> list[bytes]:
    """Return the keys of all whole records with their context, those that are there twice twice."""
    keys = []
    for path in cache.rglob("*.records"):
        data = path.read_bytes()
        while len(data) > HEAD:
            size = HEAD + int.from_bytes(data[72:HEAD], "little") + 64
            if len(data) < size:
                break
            keys.append(path.parent.name.encode() + data[8:72])
            data = data[size:]
    return keys


def judgement(out: Path) -> dict[str, Any]:
    """Return what does not depend on when and where the command ran."""
    results: dict[str, Any] = json.loads((out / "results.json").read_text())
    results.pop("cost")
    results["provenance"] = results["provenance"]["digests"]
    return results


@pytest.fixture(scope="module")
def driver(place: Path) -> Iterator[Commands]:
    with commands(place, place) as driver:
        yield driver


@pytest.fixture(scope="module")
def whole(place: Path, driver: Commands) -> Done:
    """An evaluation that nothing stopped, in `whole`, with its predictions in `cache`."""
    done = driver.run(*arguments(place, place / "whole", place / "cache"), pages=False)
    assert done.code == 0, done.text
    return done


def test_after_a_kill_only_the_model_in_progress_is_run_again(
    place: Path, driver: Commands, whole: Done
) -> None:
    models = kept(place / "cache")
    assert len(set(models)) == len(models) > MEMBERS + GENERATED_MODELS
    expected, rng, before = judgement(place / "whole"), random.Random(0), []
    for step in range(KILLS):
        cache, out = place / f"cache-{step}", place / f"out-{step}"
        after = (0.2 + 0.8 * (step + rng.random()) / KILLS) * whole.seconds
        code = driver.run(*arguments(place, out, cache), after=after, pages=False).code
        assert code == -signal.SIGKILL or out.exists()
        before.append(len(kept(cache)))
        assert len(set(kept(cache))) == before[-1]
        again = driver.run(*arguments(place, out, cache), "--overwrite", pages=False)
        assert again.code == 0, again.text
        assert sorted(kept(cache)) == sorted(models), "some were run twice, or others were"
        assert judgement(out) == expected
        shutil.rmtree(cache)
    assert any(0 < number < len(models) for number in before), f"no kill in the middle: {before}"


def test_without_a_cache_nothing_is_kept(place: Path, driver: Commands) -> None:
    default = Path(os.environ["PDIFF_CACHE"])
    out, before = place / "without", kept(default)
    start = arguments(place, out, place)
    start = start[: start.index("--cache")] + start[start.index("--cache") + 2 :]
    done = driver.run(*start, "--no-cache", pages=False)
    assert done.code == 0, done.text
    assert kept(default) == before
    done = driver.run(*start, "--overwrite", "--cache", place / "task.py" / "below a file", pages=False)
    assert done.code == 0, done.text
    assert done.text.count("predictions are not kept") == 1, done.text
    done = driver.run(*start, "--overwrite", pages=False)
    assert done.code == 0, done.text
    assert len(kept(default)) > len(before)


@pytest.mark.usefixtures("whole")
def test_two_processes_give_what_one_gives(place: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    paths = [str(ROOT / "python"), str(ROOT)]
    environment["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, sys.path)])
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, "-m", "pdiff", *arguments(place, place / "two", place / "cache of two"), "--json"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert judgement(place / "two") == judgement(place / "whole")
    assert json.loads(done.stdout) == json.loads((place / "two" / "results.json").read_text())
    files = list((place / "cache of two").rglob("*.records"))
    assert len(files) == 4, "both processes have a share, on test and on validation"
    # populations may share a model (an average of all members), which each process then runs for itself
    assert set(kept(place / "cache of two")) == set(kept(place / "cache"))
