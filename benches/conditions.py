"""Networks for conditions that no checkpoint had: a conditional flow beside regressions on the condition.

1-D convnets (without BatchNorm) are fine-tuned from one start, whose body has learned to tell all classes
apart, to tell a subset of the ten MNIST-1D classes from the rest; the condition is the subset, ten bits.
Unseen subsets differ from every seen one by two bits or more. Every method sees the weights and conditions
of the seen networks alone. Accuracy is the mean over unseen subsets on the test samples; the networks that
were trained for these subsets stand beside.

    python benches/conditions.py [--seen 300] [--unseen 40] [--seeds 3] [--set train.steps=3000]
"""

import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

import pdiff
from pdiff.cli.console import Console
from pdiff.common.config import Config
from pdiff.common.torch_rng import seeded, torch_generator
from pdiff.generators import fit

CLASSES = 10
BATCH, RATE = 128, 3e-3
START_STEPS = 4000
T_QUANTILE = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}


def network(outputs: int = 1) -> nn.Sequential:
    """Return a convnet, of 1,713 numbers with one output."""
    layers = [nn.Conv1d(1, 16, 5, 2), nn.ReLU(), nn.Conv1d(16, 16, 3, 2), nn.ReLU(), nn.Conv1d(16, 16, 3, 2)]
    return nn.Sequential(nn.Unflatten(1, (1, 40)), *layers, nn.ReLU(), nn.Flatten(), nn.Linear(48, outputs))


def subsets(seen: int, unseen: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return seen and unseen subsets as bits, f32 [n, 10]: the unseen two bits or more from each seen one."""
    numbers = torch.arange(1, 2**CLASSES - 1)
    everything = ((numbers[:, None] >> torch.arange(CLASSES)) & 1).float()
    generator = torch_generator(seed, "subsets")
    order = everything[torch.randperm(len(everything), generator=generator)]
    kept_out: list[Tensor] = []
    for bits in order:  # unseen ones first, their neighbours are never seen
        if len(kept_out) < unseen:
            kept_out.append(bits)
    apart = torch.stack(kept_out)
    rest = [bits for bits in order if float((apart - bits).abs().sum(dim=1).min()) >= 2]
    if len(rest) < seen:
        raise click.UsageError(f"{len(rest)} subsets are two bits from {unseen} unseen ones; ask for fewer")
    return torch.stack(rest[:seen]), apart


def start_of(seed: int) -> nn.Sequential:
    """Return a network whose body was trained on all ten classes, and whose head is fresh."""
    inputs, targets = pdiff.load_task("mnist1d").data("train")
    with seeded(seed, "start"):
        whole, start = network(CLASSES), network()
    optimizer = torch.optim.Adam(whole.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, START_STEPS)
    for step in range(START_STEPS):
        chosen = torch.randint(len(inputs), (BATCH,), generator=torch_generator(seed, "start-batch", step))
        optimizer.zero_grad()
        nn.functional.cross_entropy(whole(inputs[chosen]), targets[chosen]).backward()
        optimizer.step()
        schedule.step()
    start[:-1].load_state_dict(whole[:-1].state_dict())
    return start


def trained(wanted: Tensor, start: nn.Module, steps: int, seed: int) -> dict[str, Tensor]:
    """Fine-tune a network for each subset [n, 10], all at once: stacked parameters [n, …]."""
    inputs, targets = pdiff.load_task("mnist1d").data("train")
    parameters, _ = stack_module_state([start] * len(wanted))
    parameters = {name: tensor.detach().clone() for name, tensor in parameters.items()}

    def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        outputs = functional_call(start, weights, (x,))[:, 0]
        return nn.functional.binary_cross_entropy_with_logits(outputs, y)

    gradients = vmap(grad(loss), in_dims=(0, None, 0))
    optimizer = torch.optim.Adam(parameters.values(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        chosen = torch.randint(len(inputs), (BATCH,), generator=torch_generator(seed, "batch", step))
        found = gradients(parameters, inputs[chosen], wanted[:, targets[chosen]])
        for name, tensor in parameters.items():
            tensor.grad = found[name]
        optimizer.step()
        schedule.step()
    return parameters


def accuracy(states: Iterator[dict[str, Tensor]], wanted: Tensor) -> float:
    """Return the mean accuracy of networks on the test samples of their subsets."""
    inputs, targets = pdiff.load_task("mnist1d").data("test")
    module, right = network().eval(), []
    with torch.inference_mode():
        for state, bits in zip(states, wanted, strict=True):
            module.load_state_dict(state)
            right.append(((module(inputs)[:, 0] > 0) == (bits[targets] > 0)).float().mean())
    return float(torch.stack(right).mean())


def one_seed(
    folder: Path, sizes: tuple[int, int], steps: int, settings: tuple[str, ...], seed: int
) -> dict[str, float]:
    """Train the networks, collect those of the seen subsets, and ask every method for the unseen ones."""
    seen, unseen = subsets(*sizes, seed)
    found = trained(torch.cat([seen, unseen]), start_of(seed), steps, seed)
    (folder / "ckpts").mkdir(parents=True)
    with (folder / "conditions.jsonl").open("w") as table:
        for index, bits in enumerate(seen):
            name = f"{index:04d}.safetensors"
            save_file(
                {key: tensor[index].contiguous() for key, tensor in found.items()}, folder / "ckpts" / name
            )
            table.write(json.dumps({"file": name, "subset": bits.tolist()}) + "\n")
    bank = pdiff.collect(folder / "ckpts", out=folder / "bank", conditions=folder / "conditions.jsonl")
    asked = [{"subset": bits.tolist()} for bits in unseen]
    own = ({key: tensor[len(seen) + index] for key, tensor in found.items()} for index in range(len(unseen)))
    results = {"networks trained for them": accuracy(own, unseen)}
    methods = {
        "nearest": ("conditional", ("method=nearest",)),
        "average of 16 nearest": ("conditional", ("method=average",)),
        "ridge": ("conditional", ("method=ridge",)),
        "ridge, pairs of bits": ("conditional", ("method=ridge", "degree=2")),
        "kernel ridge": ("conditional", ("method=kernel-ridge",)),
        "conditional flow": ("default", ("held_out=0", *settings)),
    }
    for name, (preset, changes) in methods.items():
        config = Config.build(preset, settings=[*changes, 'condition=["subset"]'], seed=seed)
        generator = fit(config, bank.view(range(len(bank))))
        generator.ask(asked)
        rows = generator.rows(range(len(unseen)), seed)
        results[name] = accuracy((bank.state_dict(row) for row in rows), unseen)
        if preset == "default":
            draws = torch.stack([generator.rows(range(len(unseen)), seed + 100 * n) for n in range(4)])
            results["average of 4 of its draws"] = accuracy(
                (bank.state_dict(row) for row in draws.mean(dim=0)), unseen
            )
    return results


@click.command()
@click.option("--seen", type=click.IntRange(3), default=300)
@click.option("--unseen", type=click.IntRange(1), default=20)
@click.option("--steps", type=click.IntRange(1), default=300, help="Of fine-tuning.")
@click.option("--seeds", type=click.IntRange(1), default=3)
@click.option("--set", "settings", multiple=True, help="Changes to the flow.")
def main(seen: int, unseen: int, steps: int, seeds: int, settings: tuple[str, ...]) -> None:
    """Print the table."""
    console, found = Console(), []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(seeds):
            found.append(one_seed(Path(scratch) / str(seed), (seen, unseen), steps, settings, seed))
            console.say(json.dumps(found[-1]))
    rows = []
    for name in found[0]:
        values = [100 * each[name] for each in found]
        interval = ""
        if len(values) in T_QUANTILE:
            width = T_QUANTILE[len(values)] * statistics.stdev(values) / len(values) ** 0.5
            interval = f"± {width:.1f}"
        rows.append(
            [name, *(f"{value:.1f}" for value in values), f"{statistics.mean(values):.1f} {interval}"]
        )
    columns = ["method", *(f"seed {seed}" for seed in range(seeds)), "mean ± 95 %"]
    console.table(f"accuracy on {unseen} unseen subsets, {seen} seen", columns, rows)


if __name__ == "__main__":
    main()
