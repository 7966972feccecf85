"""Save a checkpoint after each of the last steps of a Lightning training; be the task file for it too.

python examples/lightning_callback.py
pdiff collect ckpts
pdiff train
pdiff generate --n 50
pdiff evaluate --task examples/lightning_callback.py:Mine
"""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pdiff.tasks import Classification
from pdiff.tasks.digits import Digits  # 8×8 scans of handwritten digits; your data in its place


class SaveLastSteps(lightning.Callback):
    """Save the weights after each of the `last` optimiser steps as `folder`/step-NNNNN.ckpt."""

    def __init__(self, folder, last):
        self.folder, self.last, self.saved = folder, last, 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        """Save if this batch ended a step (with accumulated gradients not every one does) near the end."""
        step = trainer.global_step
        if step > max(self.saved, trainer.estimated_stepping_batches - self.last):
            trainer.save_checkpoint(f"{self.folder}/step-{step:05d}.ckpt", weights_only=True)
            self.saved = step


class Network(lightning.LightningModule):
    """Yours in its place."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
        )

    def forward(self, inputs):
        """Map inputs [B, 1, 8, 8] to logits [B, 10]."""
        return self.layers(inputs)

    def training_step(self, batch, batch_idx):
        """Return the loss of a batch."""
        inputs, targets = batch
        return nn.functional.cross_entropy(self(inputs), targets)

    def configure_optimizers(self):
        """Train at a constant rate."""
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


class Mine(Classification):
    """The whole module is the network: so the names of its tensors are the checkpoints'."""

    name = "mine"

    def build(self, arch):
        """Return the network."""
        return Network()

    def data(self, split):
        """Return inputs [N, 1, 8, 8] and classes [N] of "train", "validation" or "test", in a fixed order."""
        return Digits().data(split)


def train(folder="ckpts", steps=700, last=200):
    """Train for `steps` and leave a checkpoint of each of the last ones."""
    lightning.seed_everything(0)
    loader = DataLoader(TensorDataset(*Mine().data("train")), batch_size=64, shuffle=True)
    trainer = lightning.Trainer(
        max_steps=steps,
        callbacks=[SaveLastSteps(folder, last)],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
    )
    trainer.fit(Network(), loader)


if __name__ == "__main__":
    train()
