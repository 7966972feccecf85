"""A task: the network that the checkpoints are of, and a dataset to judge it by.

pdiff evaluate generated --task my_task.py:Mine
"""

import torch
from torch import nn
from torch.utils.data import Dataset

from pdiff.tasks import Classification


class Samples(Dataset):
    """Replace it by yours, of torchvision for example: pairs (input, class)."""

    def __init__(self, split):
        seed = {"train": 0, "validation": 1, "test": 2}[split]
        self.inputs = torch.randn(500, 20, generator=torch.Generator().manual_seed(seed))

    def __len__(self):
        """Return the number of samples; 0 for "validation" says that there is none."""
        return len(self.inputs)

    def __getitem__(self, index):
        """Return one input and its class; the same ones each time."""
        return self.inputs[index], int(self.inputs[index, :3].argmax())


class Mine(Classification):
    """Replace the network by yours."""

    name = "mine"
    workers = 0  # processes that load samples

    def build(self, arch):
        """Return the network; its `state_dict()` has the checkpoints' names and shapes."""
        return nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 3))

    def data(self, split):
        """Return the samples of "train", "validation" or "test", in a fixed order."""
        return Samples(split)
