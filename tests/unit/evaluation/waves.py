"""A small problem with a residual network, and banks of its checkpoints."""

from collections.abc import Collection
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pdiff.bank import Bank, collect
from pdiff.tasks.base import Classification, Split

SAMPLES = 50
MEMBERS = 6
NORMS = ("norm2.weight", "norm2.bias", "norm2.running_mean", "norm2.running_var")


class Residual(nn.Module):
    """Two convolutions with norms, a residual, a head; writes in place as torchvision's networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(1, 4, 3, padding=1)
        self.norm1 = nn.BatchNorm1d(4)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv1d(4, 4, 3, padding=1)
        self.norm2 = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(x))
        y += x
        return self.head(self.relu(y).mean(dim=2))


class Waves(Classification):
    """Random signals [N, 1, 8] of three classes; the network is what is tested, not the task."""

    name = "waves"
    architectures = ("residual", "linear")

    def build(self, arch: str) -> nn.Module:
        return Residual() if arch == "residual" else nn.Sequential(nn.Flatten(), nn.Linear(8, 3))

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(["train", "validation", "test"].index(split))
        inputs = torch.randn(SAMPLES, 1, 8, generator=generator)
        return inputs, torch.randint(3, (SAMPLES,), generator=generator)


def perturbed(state_dict: dict[str, Tensor], names: Collection[str], seed: int) -> dict[str, Tensor]:
    """Return a copy of a state dict with noise on the tensors `names`; variances stay positive."""
    generator = torch.Generator().manual_seed(seed)
    changed = {name: tensor.clone() for name, tensor in state_dict.items()}
    for name in names:
        factor = 0.5 * torch.randn(changed[name].shape, generator=generator)
        changed[name] = changed[name] * factor.exp() if "var" in name else changed[name] + factor
    return changed


def save_bank(folder: Path, network: nn.Module, names: Collection[str], members: int = MEMBERS) -> Bank:
    """Write checkpoints of `network` that differ in the tensors `names`, and collect them."""
    (folder / "ckpts").mkdir(parents=True)
    for index in range(members):
        state_dict = perturbed(network.state_dict(), names, index)
        save_file(state_dict, folder / "ckpts" / f"step-{index}.safetensors")
    return collect(folder / "ckpts", out=folder / "bank")


def lived_in() -> nn.Module:
    """Return the network whose tensors the checkpoints share, with running statistics of the data."""
    torch.manual_seed(0)
    network = Residual()
    with torch.no_grad():
        network(Waves().data("train")[0])
        network.head.weight.mul_(10)  # so that predictions are not all alike
    return network.eval()


def save_whole_bank(folder: Path, network: nn.Module) -> Bank:
    """Save checkpoints that differ in every floating tensor."""
    names = [name for name, tensor in network.state_dict().items() if tensor.is_floating_point()]
    return save_bank(folder, network, names)
