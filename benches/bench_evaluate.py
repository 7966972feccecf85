"""Predictions of 1,400 models of one network on 10,000 samples, against the plain loop.

The plain loop does, for each model: load the file, load the state dict, forward in batches of 1,000, compare
with the labels. It is timed on a part of the models, a group of 16 in turn with ours on the same ones, and
scaled; so is ours where it says so. The models are made here: one trained (`convnet`) or freshly initialised
network (`resnet18`), each model with noise on what differs. Predictions of the part have to be identical.

Where the whole network differs there is nothing to share, and ours is the plain loop without reading files.
Where its last layers differ, what comes before them is computed once.

    python benches/bench_evaluate.py [DATA_ROOT]
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from pdiff.bank import Bank, collect
from pdiff.cli.console import Console
from pdiff.common.errors import InputError
from pdiff.common.progress import SILENT
from pdiff.evaluation.inference import Predictor
from pdiff.tasks import Task, load_task

MODELS = 1400  # 300 originals, 200 generated ones, 900 baselines
BANK = 4
BATCH = 1000
GROUP = 16
STEPS = 1500
LAST_NORMS = tuple(
    f"layer4.1.bn{i}.{part}" for i in (1, 2) for part in ("weight", "bias", "running_mean", "running_var")
)
LAST_BLOCK_NORMS = tuple(
    f"block3.norm{i}.{part}" for i in (1, 2) for part in ("weight", "bias", "running_mean", "running_var")
)


@dataclass(frozen=True)
class Case:
    """A network, the names of what differs between its models, and how many are timed."""

    task: Task
    arch: str
    names: tuple[str, ...] | None
    ours: int
    plain: int


def main() -> None:
    """Print the table."""
    options = {"data_root": sys.argv[1]} if len(sys.argv) > 1 else {}
    cases = [
        Case(load_task("mnist1d"), "convnet", None, ours=48, plain=48),
        Case(load_task("mnist1d"), "resnet", LAST_BLOCK_NORMS, ours=48, plain=16),
        Case(load_task("fashion", **options), "resnet18", LAST_NORMS, ours=100, plain=3),
    ]
    header = [
        "",
        "set up, s",
        "ours, ms a model",
        "plain, ms a model",
        f"{MODELS}: ours, s",
        "plain, s",
        "ratio in turn",
        "ratio",
    ]
    for case in cases:
        try:
            case.task.data("test")
        except InputError as error:
            print(f"{case.task.name} {case.arch} is left out: {error}")
            continue
        with tempfile.TemporaryDirectory() as name:
            found = row(case, Path(name))
        Console().table(f"10,000 samples, {torch.get_num_threads()} threads", header, [found])


def row(case: Case, folder: Path) -> list[str]:
    """Time one case."""
    network = trained(case)
    names = case.names or tuple(k for k, v in network.state_dict().items() if v.is_floating_point())
    bank = bank_of(network, names, folder)
    states = [perturbed(network, names, seed) for seed in range(case.ours)]
    rows = [bank.flatten(state) for state in states]
    for index in range(case.plain):
        save_file(states[index], folder / f"{index}.safetensors")
    begin = time.perf_counter()
    predictor = Predictor(bank, case.task, case.arch, batch_size=BATCH)
    first = predictor.predict(rows[0]).wrong
    once = time.perf_counter() - begin
    plainly(case.task, network, folder / "0.safetensors")
    turns = []
    for start in range(0, case.plain, GROUP):
        group = range(start, min(start + GROUP, case.plain))
        mine, wrong = timed(lambda group=group: predictor.wrong([rows[i] for i in group]))
        paths = [folder / f"{i}.safetensors" for i in group]
        theirs, expected = timed(
            lambda paths=paths: torch.stack([plainly(case.task, network, path) for path in paths])
        )
        assert torch.equal(wrong, expected), "the predictions differ"
        turns.append((mine / len(group), theirs / len(group)))
    assert torch.equal(first, plainly(case.task, network, folder / "0.safetensors"))
    ours = timed(lambda: predictor.wrong(rows))[0] / len(rows)
    mine, plain = (median(side) for side in zip(*turns, strict=True))
    total, loop = once + MODELS * ours, MODELS * plain
    figures = [
        f"{once:.1f}",
        f"{1e3 * ours:.2f}",
        f"{1e3 * plain:.2f}",
        f"{total:.1f}",
        f"{loop:.0f}",
        f"{plain / mine:.1f}×",
    ]
    return [f"{case.task.name} {case.arch}, {bank.dim:,} differ", *figures, f"{loop / total:.1f}×"]


def trained(case: Case) -> nn.Module:
    """Return the network the models are made of; a small one is trained for a moment."""
    torch.manual_seed(0)
    network = case.task.build(case.arch)
    inputs, targets = case.task.data("train")
    if case.names is not None:
        with torch.no_grad():
            network.train()(inputs[:256])  # running statistics that were lived in
        return network.eval()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for step in range(STEPS):
        chosen = torch.randint(len(inputs), (128,), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        case.task.loss(network(inputs[chosen]), targets[chosen]).backward()
        optimizer.step()
    return network.eval()


def perturbed(network: nn.Module, names: tuple[str, ...], seed: int) -> dict[str, Tensor]:
    """Return the network's state dict with noise on the tensors `names`; variances stay positive."""
    generator = torch.Generator().manual_seed(seed)
    state = dict(network.state_dict())
    for name in names:
        noise = torch.randn(state[name].shape, generator=generator).clamp(-3, 3)
        shifted = state[name] if "var" in name else state[name] + 0.01 * noise
        state[name] = shifted * (1 + 0.03 * noise)
    return state


def bank_of(network: nn.Module, names: tuple[str, ...], folder: Path) -> Bank:
    """Collect a few of the models: the predictor takes rows, whoever made them."""
    (folder / "ckpts").mkdir()
    for seed in range(BANK):
        save_file(perturbed(network, names, 10**6 + seed), folder / "ckpts" / f"step-{seed}.safetensors")
    return collect(folder / "ckpts", out=folder / "bank", progress=SILENT)


@torch.inference_mode()
def plainly(task: Task, network: nn.Module, path: Path) -> Tensor:
    """Do what a script does for each model."""
    network.load_state_dict(load_file(path))
    inputs, targets = task.data("test")
    batches = zip(inputs.split(BATCH), targets.split(BATCH), strict=True)
    return torch.cat([network(batch).argmax(dim=1) != labels for batch, labels in batches])


def timed(side: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """Return the seconds that a call takes, and what it returns."""
    begin = time.perf_counter()
    found = side()
    return time.perf_counter() - begin, found


if __name__ == "__main__":
    main()
