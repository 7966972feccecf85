"""Whole networks of millions of numbers: time, memory and accuracy of each step, for several codecs.

A network of `fashion` is trained for some steps from scratch, in batches of 32, then checkpoints of further
steps are saved; each command of the tour is a process of its own, whose processor time and peak resident
memory are printed. Accuracy is that of some ten checkpoints and of ten generated models on the first 1,000
test samples.

    python benches/whole.py [--arch resnet18] [--steps 200] [--codec pca] [--codec "token codec.size=65536"]
"""

import os
import shlex
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import click
from safetensors.torch import load_file
from torch import nn

import pdiff
from pdiff.cli.console import Console
from pdiff.common.tensors import write_tensors
from pdiff.tasks import Task
from pdiff.tasks.data import SplitData
from pdiff.tasks.scoring import score
from pdiff.training.frozen import FrozenRest
from pdiff.zoo.recipes import Phase
from pdiff.zoo.start import initialise
from pdiff.zoo.train import bank_steps, converge

BATCH, RATE, LAST_RATE = 32, 2e-3, 1e-4
MODELS, SAMPLES = 10, 1000
_TICK = 0.02


def train(task: Task, arch: str, out: Path, console: Console, *, steps: int, k: int) -> nn.Module:
    """Train a network from scratch, then save `k` checkpoints, one a step, as the zoo does."""
    network = initialise(task, arch, seed=0, run=0)
    batches = SplitData(task, "train").shuffled(BATCH, seed=0, purpose="benches/whole")
    rest = FrozenRest(network, list(network.state_dict()), whole=True)
    converge(task, network, Phase("adamw", RATE, BATCH), batches, steps=steps, rest=rest, progress=console)
    taken = bank_steps(task, network, Phase("adamw", LAST_RATE, BATCH), batches, rest)
    for number, _ in enumerate(islice(taken, k)):
        write_tensors(out / f"step-{number:03d}.safetensors", network.state_dict())
    return network


def run(*typed: str, folder: Path) -> tuple[str, str, str]:
    """Run a command of `pdiff`; return its wall and processor seconds and its peak resident memory."""
    begin = time.perf_counter()
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "pdiff", *typed],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, str(folder / "log"), os.O_WRONLY | os.O_CREAT, 0o600)],
    )
    pid, peak = 0, 0
    while not pid:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        peak = max(peak, 0 if pid else resident(child))
        time.sleep(_TICK)
    if code := os.waitstatus_to_exitcode(status):
        raise SystemExit(f"pdiff {shlex.join(typed)}: exit code {code}")
    seconds = usage.ru_utime + usage.ru_stime
    return f"{time.perf_counter() - begin:.0f} s", f"{seconds:.0f} s", f"{peak / 2**20:.2f} GiB"


def resident(process: int) -> int:
    """Return the most kilobytes that a process has had in memory; what it was forked from does not count."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def accuracy(task: Task, network: nn.Module, files: list[Path]) -> str:
    """Return the mean accuracy of checkpoints, with least and greatest."""
    data = SplitData(task, "test", limit=SAMPLES)
    scores = []
    for file in files:
        network.load_state_dict(load_file(file), strict=True)
        scores.append(100 * score(task, network.eval(), data))
    return f"{sum(scores) / len(scores):.2f} % ({min(scores):.1f} to {max(scores):.1f})"


@click.command()
@click.option("--arch", default="resnet18", show_default=True)
@click.option("--steps", type=click.IntRange(1), default=200, show_default=True)
@click.option("--k", type=click.IntRange(3), default=50, show_default=True)
@click.option("--codec", "codecs", multiple=True, default=("pca", "token codec.size=65536"))
def main(arch: str, steps: int, k: int, codecs: tuple[str, ...]) -> None:
    """Print the table."""
    console, task = Console(), pdiff.load_task("fashion")
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "ckpts").mkdir()
        network = train(task, arch, folder / "ckpts", console, steps=steps, k=k)
        ckpts, bank = sorted((folder / "ckpts").iterdir()), str(folder / "bank")
        rows.append(["checkpoints", "", "", "", accuracy(task, network, ckpts[:: max(1, k // MODELS)])])
        rows.append(["collect", *run("collect", str(folder / "ckpts"), "--out", bank, folder=folder), ""])
        for codec in codecs:
            kind, *settings = codec.split()
            options = [word for each in (f"codec.kind={kind}", *settings) for word in ("--set", each)]
            fitted, made = str(folder / f"run-{kind}"), folder / f"generated-{kind}"
            known = ("--task", "fashion", "--arch", arch)
            took = run("train", bank, "--out", fitted, *known, *options, folder=folder)
            rows.append([f"train, {codec}", *took, ""])
            took = run("generate", fitted, "--n", str(MODELS), "--out", str(made), folder=folder)
            rows.append(
                [
                    f"generate {MODELS}, {codec}",
                    *took,
                    accuracy(task, network, sorted(made.glob("*.safetensors"))),
                ]
            )
    console.table(f"fashion {arch}", ["step", "wall", "processor", "memory", "accuracy"], rows)


if __name__ == "__main__":
    main()
