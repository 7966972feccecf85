"""The small networks of the built-in tasks. Every one maps a batch of inputs to logits [B, classes].

Beside some of them stand the groups of their hidden units, whose order does not matter.
"""

from collections import OrderedDict

from torch import Tensor, nn

from pdiff.tasks.base import Permutations

__all__ = [
    "convnet1d",
    "convnet2d",
    "convnet_permutations",
    "mlp",
    "mlp_permutations",
    "resnet1d",
    "resnet_permutations",
]

_NORM = ("weight", "bias", "running_mean", "running_var")


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


def mlp_permutations(depth: int) -> Permutations:
    """Return a group for each of the `depth` hidden layers of an `mlp`."""
    following = [*(f"fc{index}" for index in range(2, depth + 1)), "head"]
    return [
        [(f"fc{index}.weight", 0), (f"fc{index}.bias", 0), (f"{after}.weight", 1)]
        for index, after in enumerate(following, start=1)
    ]


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


def convnet_permutations(depth: int) -> Permutations:
    """Return a group for each of the `depth` convolutions of a `convnet1d` or `convnet2d`."""
    following = [*(f"conv{index}" for index in range(2, depth + 1)), "head"]
    return [
        [
            (f"conv{index}.weight", 0),
            *((f"norm{index}.{name}", 0) for name in _NORM),
            (f"{after}.weight", 1),
        ]
        for index, after in enumerate(following, start=1)
    ]


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


def resnet_permutations(depth: int) -> Permutations:
    """Return the groups of a `resnet1d` of `depth` blocks: within each, and what shortcuts tie together."""
    within = [
        [
            (f"block{index}.conv1.weight", 0),
            *((f"block{index}.norm1.{name}", 0) for name in _NORM),
            (f"block{index}.conv2.weight", 1),
        ]
        for index in range(1, depth + 1)
    ]
    between = []
    for index in range(1, depth + 1):
        before = [("shortcut.weight", 0)] if index > 1 else []
        own = [("conv2.weight", 0), *((f"norm2.{name}", 0) for name in _NORM), *before]
        following = [(f"block{index + 1}.{name}.weight", 1) for name in ("conv1", "shortcut")]
        between.append(
            [
                *((f"block{index}.{name}", axis) for name, axis in own),
                *(following if index < depth else [("head.weight", 1)]),
            ]
        )
    head = [("conv.weight", 0), *((f"norm.{name}", 0) for name in _NORM), ("block1.conv1.weight", 1)]
    between[0] += head  # the first block's shortcut is the identity
    return [*within, *between]
