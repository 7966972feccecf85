"""A small network's checkpoints, made up, for tests of everything that reads or writes them."""

import torch
from torch import Tensor

MEMBERS = 12
TINY = ["codec.latent_dim=4", "train.steps=5", "generator.width=16", "generator.timesteps=5"]


def checkpoint(index: int) -> dict[str, Tensor]:
    """Return member `index`: two varying layers (one with BatchNorm), one frozen layer, one counter."""
    generator = torch.Generator().manual_seed(index)
    return {
        "frozen.weight": torch.arange(6.0).reshape(2, 3),
        "layer.weight": 1 + 0.1 * torch.randn(3, 4, generator=generator),
        "layer.bias": 0.5 * torch.randn(3, generator=generator),
        "bn.running_mean": torch.randn(3, generator=generator),
        "bn.running_var": torch.rand(3, generator=generator) + 0.1,
        "bn.num_batches_tracked": torch.tensor(index),
    }
