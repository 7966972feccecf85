"""A task: the network that the checkpoints are of, and data to judge it by.

pdiff evaluate generated --task my_task.py:Mine
"""

import torch
from torch import nn

from pdiff.tasks import Classification


class Mine(Classification):
    """Replace the network and the data by yours."""

    name = "mine"

    def build(self, arch):
        """Return the network; its `state_dict()` has the checkpoints' names and shapes."""
        return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 3))

    def data(self, split):
        """Return inputs [N, ...] and classes [N] of "train", "validation" or "test", in a fixed order.

        Tensors or NumPy arrays. Two empty ones for "validation" say that there is no such split.
        """
        seed = {"train": 0, "validation": 1, "test": 2}[split]
        inputs = torch.randn(500, 20, generator=torch.Generator().manual_seed(seed))
        return inputs, inputs[:, :3].argmax(dim=1)
