"""A small fixed case, from checkpoints to verdict, whose figures `figures.json` and `rows.safetensors` hold.

Nothing in it depends on training by gradients over many steps, which rounding would make another on another
machine: the network's layers are drawn, its statistics and its head are fitted to the digits in closed form.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pdiff.tasks import load_task

MEMBERS = 24
GENERATED = 6
SMALL = {
    "default": ("codec.latent_dim=8", "train.steps=40", "denoiser.width=32", "sampler.steps=8"),
    "paper": (
        "codec.latent_dim=8",
        "codec.train.steps=3",
        "codec.train.batch_size=8",
        "train.steps=3",
        "diffusion.timesteps=20",
        "sampler.steps=20",
        "check=false",
    ),
}
"""Settings that make each preset small enough for a test."""


def write_checkpoints(folder: Path) -> None:
    """Write the members: the fitted network, moved along a curve and a little off it."""
    network = _fitted()
    state = network.state_dict()
    generator = np.random.Generator(np.random.Philox(key=7))
    ends = {name: _normals(generator, tensor) for name, tensor in state.items()}
    folder.mkdir()
    for member in range(MEMBERS):
        turn = 2 * np.pi * member / MEMBERS
        moved = {}
        for name, tensor in state.items():
            if not tensor.is_floating_point():
                moved[name] = tensor.clone()
                continue
            scale = 0.08 * tensor.abs().mean()
            offset = np.sin(turn) * ends[name] + 0.6 * np.cos(2 * turn) * ends[name].flip(0)
            value = tensor + scale * (offset + 0.5 * _normals(generator, tensor))
            moved[name] = value.abs() if name.endswith("running_var") else value
        save_file(moved, folder / f"step-{member:05d}.safetensors", {"step": str(member)})
    (folder / "task.json").write_text('{"task": "digits", "arch": "convnet", "options": {}}')


def _normals(generator: np.random.Generator, like: Tensor) -> Tensor:
    return torch.from_numpy(generator.standard_normal(tuple(like.shape), dtype=np.float32))


@torch.no_grad()
def _fitted() -> nn.Module:
    """Return the digits' convnet with drawn layers, their statistics, and a head by ridge regression."""
    task = load_task("digits")
    inputs, targets = task.data("train")
    network = task.build("convnet")
    generator = np.random.Generator(np.random.Philox(key=3))
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            parameter.copy_(_normals(generator, parameter) / parameter[0].numel() ** 0.5)
        elif name.startswith("norm"):
            parameter.copy_(1 + 0.1 * _normals(generator, parameter))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    network.train()
    network(inputs)
    network.eval()
    features = torch.cat([network[:-1](inputs), torch.ones(len(inputs), 1)], dim=1).double()
    wanted = nn.functional.one_hot(targets, 10).double()
    ridge = features.T @ features + 1e-2 * len(inputs) * torch.eye(features.shape[1], dtype=torch.float64)
    solution = torch.linalg.solve(ridge, features.T @ wanted).float()
    network[-1].weight.copy_(10 * solution[:-1].T)
    network[-1].bias.copy_(10 * solution[-1])
    return network
