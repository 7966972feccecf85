"""Build the small networks of the built-in classifications: a batch of inputs to logits [B, classes]."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor, nn

from pdiff.common.errors import unknown
from pdiff.tasks.base import Classification, Task


class NetworkTable(Task):
    """A task with a table of networks."""

    networks: ClassVar[Mapping[str, Callable[[], nn.Module]]]
    """Name of each architecture → what builds it."""

    def build(self, arch: str) -> nn.Module:
        """Return a freshly initialised network; raises `UsageError` for an unknown `arch`."""
        if arch not in self.networks:
            raise unknown(f"architecture of {self.name}", arch, self.networks)
        return self.networks[arch]()


class BuiltIn(NetworkTable, Classification):
    """A classification with a table of networks."""


def mlp(inputs: int, hidden: tuple[int, ...], classes: int) -> nn.Module:
    """Return a ReLU network on flattened inputs [B, ...] with `inputs` numbers each."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    width = inputs
    for index, size in enumerate(hidden, start=1):
        layers[f"fc{index}"] = nn.Linear(width, size)
        layers[f"relu{index}"] = nn.ReLU()
        width = size
    layers["head"] = nn.Linear(width, classes)
    return nn.Sequential(layers)


def convnet1d(length: int, width: int, classes: int) -> nn.Module:
    """Return three strided convolutions with BatchNorm and ReLU, and a linear head; input [B, length]."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(unflatten=nn.Unflatten(1, (1, length)))
    channels, size = 1, length
    for index, kernel in enumerate((5, 3, 3), start=1):
        layers[f"conv{index}"] = nn.Conv1d(channels, width, kernel, stride=2, padding=kernel // 2, bias=False)
        layers[f"norm{index}"] = nn.BatchNorm1d(width)
        layers[f"relu{index}"] = nn.ReLU()
        channels, size = width, (size + 1) // 2
    layers["flatten"] = nn.Flatten()
    layers["head"] = nn.Linear(width * size, classes)
    return nn.Sequential(layers)


def convnet2d(size: int, widths: tuple[int, ...], classes: int) -> nn.Module:
    """Return convolutions with BatchNorm, ReLU and halving, and a linear head; input [B, 1, size, size]."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 1
    for index, width in enumerate(widths, start=1):
        layers[f"conv{index}"] = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        layers[f"norm{index}"] = nn.BatchNorm2d(width)
        layers[f"relu{index}"] = nn.ReLU()
        layers[f"pool{index}"] = nn.MaxPool2d(2)
        channels, size = width, size // 2
    layers["flatten"] = nn.Flatten()
    layers["head"] = nn.Linear(channels * size * size, classes)
    return nn.Sequential(layers)


class _ResidualBlock1d(nn.Module):
    """Two convolutions with BatchNorm beside a shortcut (a 1-wide convolution where the shape changes)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm1d(width)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv1d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm1d(width)
        same = stride == 1 and channels == width
        self.shortcut = nn.Identity() if same else nn.Conv1d(channels, width, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, channels, L] to [B, width, ceil(L / stride)]."""
        y = self.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return self.relu(y + self.shortcut(x))  # type: ignore[no-any-return]


def resnet1d(length: int, widths: tuple[int, ...], classes: int) -> nn.Module:
    """Return a convolution, one residual block for each width (strided after the first), mean, linear head.

    Input [B, length].
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(unflatten=nn.Unflatten(1, (1, length)))
    layers["conv"] = nn.Conv1d(1, widths[0], 5, stride=2, padding=2, bias=False)
    layers["norm"] = nn.BatchNorm1d(widths[0])
    layers["relu"] = nn.ReLU()
    channels = widths[0]
    for index, width in enumerate(widths, start=1):
        layers[f"block{index}"] = _ResidualBlock1d(channels, width, stride=1 if index == 1 else 2)
        channels = width
    layers["pool"] = nn.AdaptiveAvgPool1d(1)
    layers["flatten"] = nn.Flatten()
    layers["head"] = nn.Linear(channels, classes)
    return nn.Sequential(layers)
