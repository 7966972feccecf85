"""Decide how many threads a network runs on: one, where its layers are too small to be worth sharing out.

Threads wait for each other after every layer. That costs microseconds where all of them run at once, and
milliseconds where other processes take turns with them; small networks were up to thirty times slower on two
threads than on one. The decision depends on the network and the batch alone, so that runs can be repeated.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

VARIABLE = "OMP_NUM_THREADS"
"""Where the environment has it, it decides; `--threads` sets it."""

LARGE = 1e8
"""Multiplications in a layer, on average, from which several threads are used: some 10 ms of one core."""


def suitable_threads(network: nn.Module, forward: Callable[[], object]) -> int:
    """Return how many threads suit `network`: one if its layers are small in `forward`, a call of it.

    `forward` is called once, in eval mode. Networks on a GPU, and those without a layer that can be
    counted, keep the threads that there are.
    """
    there = torch.get_num_threads()
    if there == 1 or VARIABLE in os.environ:
        return there
    counts = multiplications(network, forward)
    on_gpu = any(parameter.device.type == "cuda" for parameter in network.parameters())
    return 1 if counts and not on_gpu and sum(counts) / len(counts) < LARGE else there


@contextmanager
def on_threads(number: int) -> Iterator[None]:
    """Have torch use so many threads while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def multiplications(network: nn.Module, forward: Callable[[], object]) -> list[int]:
    """Return how many multiplications each layer of products does in `forward`, in eval mode.

    Those are linear and convolutional layers and attention of a sequence to itself.
    """
    counts: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.MultiheadAttention):  # four products with weights, two of positions
            length, width = inputs[0].shape[-2:]
            counts.append(inputs[0].numel() * (4 * width + 2 * length))
            return
        transposed = isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
        counts.append(
            (inputs[0] if transposed else output).numel() * layer.get_parameter("weight")[0].numel()
        )

    layers = [module for module in network.modules() if isinstance(module, _COUNTED)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    modes = {module: module.training for module in network.modules()}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            network.eval()
            forward()
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    return counts


_COUNTED = (
    nn.MultiheadAttention,
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
