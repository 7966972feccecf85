"""Count the files of the package that each step of the data's way runs through.

    python tests/data_ways.py                    # a table
    python tests/data_ways.py --list collect     # the files of one step, too

A file counts for a step if any function of it, or its body, runs meanwhile. The steps run one after another
in one process that has imported `pdiff`, through the Python functions, as in the README: so `collect` counts
the files that it imports as well, `train` what it calls anywhere and what it is the first to import. The
checkpoints are a small zoo, made by another process beforehand.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pdiff

PACKAGE = str(Path(pdiff.__file__).parent) + os.sep
ZOO = ["zoo", "digits", "--arch", "mlp", "--k", "24", "--epochs", "1"]


def files_run(step: Callable[[], Any], into: set[str]) -> Any:
    """Return what `step` returns; the files of the package that run meanwhile go `into` the set."""

    def note(frame: FrameType, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(PACKAGE):
            into.add(name.removeprefix(PACKAGE))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        return step()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def ways(folder: Path) -> dict[str, set[str]]:
    """Return the files of each step, which all write below `folder`."""
    made = [sys.executable, "-m", "pdiff", *ZOO, "--out", str(folder / "ckpts")]
    subprocess.run(made, check=True, capture_output=True)
    config = pdiff.Config.build("default", settings=["train.steps=5"])
    found: dict[str, set[str]] = {}

    def way(name: str, step: Callable[[], Any]) -> Any:
        return files_run(step, found.setdefault(name, set()))

    bank = way("collect", lambda: pdiff.collect(folder / "ckpts", out=folder / "bank"))
    run = way("train", lambda: pdiff.train(bank, out=folder / "run", config=config, device="cpu"))
    models = way("generate", lambda: pdiff.generate(run, n=3, out=folder / "generated", device="cpu"))
    evaluated = "evaluate + page"
    results = way(evaluated, lambda: pdiff.evaluate(models, baselines_n=2, device="cpu"))
    way(evaluated, lambda: pdiff.save_report(results, folder / "evaluation"))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Count the files that each step runs through.")
    parser.add_argument("--list", metavar="STEP", help="list the files of the steps of this name, too")
    listed = parser.parse_args().list
    with tempfile.TemporaryDirectory() as folder:
        found = ways(Path(folder))
    print(f"{'step':16} files")
    for name, files in found.items():
        print(f"{name:16} {len(files):5}")
    for name, files in found.items():
        if listed and name.startswith(listed):
            print(f"\n{name}:", *sorted(files), sep="\n  ")


if __name__ == "__main__":
    main()
