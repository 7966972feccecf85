"""Train a network in a plain PyTorch loop that leaves a folder of checkpoints; be the task file for it too.

python examples/plain_loop.py
pdiff collect ckpts
pdiff train
pdiff generate --n 50
pdiff evaluate --task examples/plain_loop.py:Mine
"""

from pathlib import Path

import torch
from torch import nn

from pdiff.tasks import Classification
from pdiff.tasks.digits import Digits  # 8×8 scans of handwritten digits; your data in its place


class Mine(Classification):
    """The network and the data to judge it by; the training below uses the same."""

    name = "mine"

    def build(self, arch):
        """Return the network; its `state_dict()` has the checkpoints' names and shapes."""
        return nn.Sequential(
            nn.Flatten(),
            *(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU()),
            *(nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU()),
            nn.Linear(32, 10),
        )

    def data(self, split):
        """Return inputs [N, 1, 8, 8] and classes [N] of "train", "validation" or "test", in a fixed order."""
        return Digits().data(split)


def train(folder="ckpts", steps=700, last=200):
    """Train for `steps` and save a checkpoint after each of the last ones.

    The rate stays high to the end, so that the checkpoints differ.
    """
    Path(folder).mkdir()
    torch.manual_seed(0)
    task = Mine()
    network, (inputs, targets) = task.build("network"), task.data("train")
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for step in range(1, steps + 1):
        batch = torch.randint(len(inputs), (64,))
        optimizer.zero_grad()
        task.loss(network(inputs[batch]), targets[batch]).backward()
        optimizer.step()
        if step > steps - last:
            torch.save(network.state_dict(), f"{folder}/step-{step:05d}.pt")


if __name__ == "__main__":
    train()
