import pytest
import torch
from torch import nn

from pdiff.common.errors import UsageError
from pdiff.tasks import Classification


class TinyTask(Classification):
    """Three classes of noisy prototypes, eight numbers each."""

    name = "tiny"
    architectures = ("batchnorm", "layernorm")

    def build(self, arch):
        if arch not in self.architectures:
            raise UsageError(arch)
        norm = nn.BatchNorm1d if arch == "batchnorm" else nn.LayerNorm
        return nn.Sequential(
            nn.Linear(8, 12), norm(12), nn.ReLU(), nn.Linear(12, 12), norm(12), nn.ReLU(),
            nn.Linear(12, 6), norm(6), nn.ReLU(), nn.Linear(6, 3),
        )  # fmt: skip

    def data(self, split):
        generator = torch.Generator().manual_seed(("train", "validation", "test").index(split))
        targets = torch.arange(210) % 3
        prototypes = 2 * torch.eye(3, 8)
        return prototypes[targets] + torch.randn(210, 8, generator=generator), targets


@pytest.fixture
def task():
    return TinyTask()
