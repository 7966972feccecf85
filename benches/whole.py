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
from pathlib import Path

import click
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import pdiff
from pdiff.cli.console import Console
from pdiff.tasks import Task
from pdiff.tasks.data import SplitData
from pdiff.tasks.scoring import score

BATCH, RATE, LAST_RATE, WARM_UP = 32, 2e-3, 1e-4, 30
MODELS, SAMPLES = 10, 1000
_TICK = 0.02


def train(task: Task, network: nn.Module, steps: int, k: int, out: Path) -> None:
    """Train all parameters, then save `k` checkpoints, one a step."""
    inputs, targets = task.data("train")  # type: ignore[misc]
    generator = torch.Generator().manual_seed(0)

    def step(optimizer: torch.optim.Optimizer) -> None:
        chosen = torch.randint(len(inputs), (BATCH,), generator=generator)
        optimizer.zero_grad()
        task.loss(network(inputs[chosen]), targets[chosen]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), RATE)
    for number in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (number + 1) / WARM_UP) * (1 - number / steps) + 1e-5
        step(optimizer)
    optimizer = torch.optim.AdamW(network.parameters(), LAST_RATE)
    for number in range(k):
        step(optimizer)
        state: dict[str, Tensor] = network.state_dict()
        save_file(state, out / f"step-{number:03d}.safetensors")


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
    torch.manual_seed(0)
    network = task.build(arch)
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "ckpts").mkdir()
        train(task, network, steps, k, folder / "ckpts")
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
