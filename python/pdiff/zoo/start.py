"""Make the network that a zoo trains: with random weights, or with those of a file."""

from pathlib import Path

import torch
from torch import nn

from pdiff.checkpoints.opening import open_one
from pdiff.checkpoints.records import Choice
from pdiff.common.errors import InputError
from pdiff.common.progress import SILENT, Progress
from pdiff.common.tensors import read_checkpoint
from pdiff.common.torch_rng import torch_generator
from pdiff.common.wording import counted, some
from pdiff.tasks import Task, calls

LEAST = 0.5
"""Share of a network's numbers that a file has to hold for training to start from it."""


def initialise(task: Task, arch: str, seed: int, run: int) -> nn.Module:
    """Build the network with the weights that belong to (seed, run); torch's own generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_generator(seed, "zoo/initialise", run).initial_seed())
        return calls.build(task, arch)


def load_start(network: nn.Module, file: Path, progress: Progress = SILENT) -> None:
    """Give a network the weights that a checkpoint of any format holds for it.

    Tensors that the file lacks, or that have another shape there (a classifier of other classes), keep their
    values, which is said. Raises `InputError` if less than half of the numbers would come from the file.
    """
    origin = open_one(file, Choice()).header.origin
    given = read_checkpoint(origin.files, origin.keys, ema=origin.ema)
    state = network.state_dict()
    fitting = {name for name, tensor in state.items() if name in given and given[name].shape == tensor.shape}
    held = sum(state[name].numel() for name in fitting)
    if held < LEAST * sum(tensor.numel() for tensor in state.values()):
        raise InputError(
            f"{file}: holds {counted(held, 'number')} of this network, less than half; "
            f"its tensors are {some(list(given))}"
        )
    network.load_state_dict({name: given[name] for name in fitting}, strict=False)
    if left := [name for name in state if name not in fitting]:
        progress.message(
            f"{file}: starts from it but for {some(left)}, which it lacks or has in other shapes"
        )
