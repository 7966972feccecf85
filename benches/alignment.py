"""What aligning hidden units does for averages of independent networks: accuracy before and after.

Networks of mnist1d are trained from other initialisations and orders of the data. Of each way to match their
hidden units: accuracy on 10,000 test samples of the midpoints of random pairs, and of the average of all.
Units are matched by weights or by activations on training inputs: to those of the first network, to the sum
of those before (one round), or in rounds, in which each is matched to the sum of all others.

    python benches/alignment.py [--arch mlp] [--runs 30] [--pairs 20] [--seed 0] [--ckpts FOLDER]
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.swa_utils import update_bn

import pdiff
from pdiff.alignment.align import INPUTS
from pdiff.alignment.matching import ROUNDS, matched
from pdiff.alignment.members import Members
from pdiff.alignment.symmetry import Orders, Symmetry, Values
from pdiff.cli.console import Console
from pdiff.common.progress import SILENT
from pdiff.common.rng import numpy_generator
from pdiff.tasks import SplitData, Task
from pdiff.tasks.scoring import load, score

REESTIMATED = 4000
"""Training inputs for the BatchNorm statistics of averages, of networks that have some."""

Row = NDArray[np.float32]
Matcher = Callable[[Callable[[int], Values], int, Symmetry], list[Orders]]


class Judge:
    """Scores rows of a bank on the test split."""

    def __init__(self, bank: pdiff.Bank, task: Task, arch: str) -> None:
        self._bank, self._network, self._task = bank, task.build(arch).eval(), task
        self._test, self._train = SplitData(task, "test"), SplitData(task, "train", REESTIMATED)

    def __call__(self, row: Row, *, average: bool = True) -> float:
        """Return the accuracy of a row [D]; an average's BatchNorm statistics are estimated anew."""
        load(self._network, self._bank.state_dict(torch.from_numpy(row)), "the network")
        if average:
            update_bn((inputs for inputs, _ in self._train.batches(500)), self._network)
            self._network.eval()
        return score(self._task, self._network, self._test)


def to_first(values: Callable[[int], Values], members: int, symmetry: Symmetry) -> list[Orders]:
    """Match each member to the first."""
    first = values(0)
    return [symmetry.match(values(index), first) for index in range(members)]


def in_rounds(rounds: int) -> Matcher:
    """Return what matches in so many rounds."""
    return lambda values, members, symmetry: matched(values, members, symmetry, SILENT, rounds)


WAYS: dict[str, Matcher] = {
    "the first": to_first,
    "those before": in_rounds(1),
    f"all others, {ROUNDS} rounds": in_rounds(ROUNDS),
}


def line(name: str, rows: Row, judge: Judge, pairs: list[tuple[int, int]], seconds: str) -> str:
    """Return a row of the table."""
    middles = np.array([judge((rows[one] + rows[other]) / 2) for one, other in pairs])
    spread = 1.96 * middles.std(ddof=1) / np.sqrt(len(middles))
    average = judge(rows.mean(axis=0, dtype=np.float64).astype(np.float32))
    return f"| {name} | {middles.mean():.1%} ± {100 * spread:.1f} | {average:.1%} | {seconds} |"


@click.command()
@click.option("--arch", default="mlp", show_default=True)
@click.option("--runs", default=30, show_default=True, help="Networks, each from its own initialisation.")
@click.option("--pairs", default=20, show_default=True, help="Random pairs whose midpoints are judged.")
@click.option("--seed", default=0, show_default=True)
@click.option("--ckpts", type=click.Path(path_type=Path), help="Checkpoints that are there already.")
def main(arch: str, runs: int, pairs: int, seed: int, ckpts: Path | None) -> None:
    task = pdiff.load_task("mnist1d")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if ckpts is None:
            ckpts = folder / "ckpts"
            how = {"task_name": "mnist1d", "options": {}, "arch": arch, "k": 1, "runs": runs, "seed": seed}
            pdiff.build_zoo(task, out=ckpts, progress=Console(False), **how)
        bank = pdiff.collect(ckpts, out=folder / "bank", warn=False)
        judge, members = Judge(bank, task, arch), len(bank)
        rows = bank.gathered(range(members))
        generator = numpy_generator(seed, "benches/alignment")
        chosen = [tuple(generator.choice(members, 2, replace=False).tolist()) for _ in range(pairs)]
        own = np.mean([judge(row, average=False) for row in rows])
        print(f"{members} networks, mean accuracy {own:.1%}\n")
        print("| matched by, to | midpoint of two | average of all | matching |\n|---|---|---|---|")
        print(line("not aligned", rows, judge, chosen, ""), flush=True)
        for method in ("weights", "activations"):
            opened = Members.opened(bank, task, arch, INPUTS)
            values, symmetry = opened.vectors(method)
            for way, match in WAYS.items():
                begin = time.process_time()
                orders = match(values, members, symmetry)
                seconds = f"{time.process_time() - begin:.1f} s"
                aligned = np.stack(
                    [opened.symmetry.permuted(*each) for each in zip(rows, orders, strict=True)]
                )
                print(line(f"{method}, {way}", aligned, judge, chosen, seconds), flush=True)


if __name__ == "__main__":
    main()
