"""Networks whose hidden units are tied together in every way, and the groups of the built-in ones by hand."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

BUILT_IN = [
    *(("mnist1d", arch) for arch in ("mlp", "convnet", "resnet")),
    *(("digits", arch) for arch in ("mlp", "convnet")),
    ("fashion", "convnet"),
]
SHAPES = {"mnist1d": (40,), "digits": (1, 8, 8), "fashion": (1, 28, 28)}

Axes = Sequence[Sequence[tuple[str, int]]]
_NORM = ("weight", "bias", "running_mean", "running_var")


def by_hand(task: str, arch: str) -> Axes:
    """The groups of a built-in network: axes (tensor, dimension) that move together."""
    if arch == "mlp":
        return _chain("fc", 2, lambda layer: [(f"fc{layer}.weight", 0), (f"fc{layer}.bias", 0)])
    if arch == "convnet":
        return _chain(
            "conv", 2 if task == "digits" else 3, lambda layer: _normed(f"conv{layer}", f"norm{layer}")
        )
    return _resnet(3)


def _chain(name: str, depth: int, own: Callable[[int], Sequence[tuple[str, int]]]) -> Axes:
    """A group for each of the layers NAME1, NAME2, …: its `own` tensors, the next one's inputs."""
    following = [*(f"{name}{layer}" for layer in range(2, depth + 1)), "head"]
    return [[*own(layer), (f"{after}.weight", 1)] for layer, after in enumerate(following, start=1)]


def _normed(layer: str, norm: str) -> list[tuple[str, int]]:
    return [(f"{layer}.weight", 0), *((f"{norm}.{name}", 0) for name in _NORM)]


def _resnet(depth: int) -> Axes:
    blocks = [f"block{index}" for index in range(1, depth + 1)]
    within = [[*_normed(f"{b}.conv1", f"{b}.norm1"), (f"{b}.conv2.weight", 1)] for b in blocks]
    between = [_normed(f"{b}.conv2", f"{b}.norm2") for b in blocks]
    between[0] += [*_normed("conv", "norm"), ("block1.conv1.weight", 1)]
    for group, after in zip(between, blocks[1:], strict=False):
        group += [(f"{after}.conv1.weight", 1), (f"{after}.shortcut.weight", 1)]
    for group, block in zip(between[1:], blocks[1:], strict=True):
        group.append((f"{block}.shortcut.weight", 0))
    between[-1].append(("head.weight", 1))
    return [*within, *between]


class Encoder(nn.Module):
    """Embeddings, positions, two of torch's own transformer layers."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 12)
        self.places = nn.Parameter(torch.empty(1, 5, 12))
        layer = nn.TransformerEncoderLayer(12, 3, 16, batch_first=True, activation="gelu")
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.words(x) + self.places).mean(1))


class VisionTransformer(nn.Module):
    """Patches, a class token, attention written out, queries and keys and values in one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 12, 4, 4)
        self.token = nn.Parameter(torch.empty(1, 1, 12))
        self.places = nn.Parameter(torch.empty(1, 5, 12))
        self.norm, self.qkv, self.out = nn.LayerNorm(12), nn.Linear(12, 24), nn.Linear(8, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        q, k, v = (part.view(len(x), 5, 2, 4).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        mixed = (q @ k.transpose(-2, -1) / 2).softmax(-1) @ v
        x = x + self.out(mixed.transpose(1, 2).reshape(len(x), 5, 8))
        return self.head(x[:, 0])


class Residual(nn.Module):
    """A square matrix whose rows and columns are in one group, and an operation in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.square, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.head(x + self.square(x).relu_())


class Tied(Residual):
    """Two layers with the same weight."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Linear(8, 8)
        self.again.weight = self.square.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.again(self.square(self.first(x).relu()).relu()).tanh())


class Dense(nn.Module):
    """A layer that reads its predecessor's units beside the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 8), nn.Linear(12, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(torch.cat([self.first(x).relu(), x], 1)).relu())


class SqueezeExcite(nn.Module):
    """Channels that are weighted by what they hold, and normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down, self.up = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return self.head(functional.normalize(x.mean((2, 3)), dim=1))


class Einsum(nn.Module):
    """Heads that are axes of parameters, with an RMS norm on each."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.empty(4, 3, 6)), nn.Parameter(torch.empty(3, 6, 2))
        self.norm = nn.RMSNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bhd,hde->be", self.norm(torch.einsum("bi,ihd->bhd", x, self.a)).tanh(), self.b)


class Structured(nn.Module):
    """A dictionary of inputs, another one of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": self.head((self.left(x["left"]) * self.right(x["right"])).relu())}


def grouped() -> nn.Module:
    """Grouped and depthwise convolutions, GroupNorm, PReLU, pooling, BatchNorm, linear layers behind them."""
    return nn.Sequential(
        *(nn.Conv1d(2, 8, 3), nn.ReLU(), nn.Conv1d(8, 8, 3, groups=8), nn.Conv1d(8, 12, 3, groups=4)),
        *(nn.GroupNorm(3, 12), nn.PReLU(12), nn.MaxPool1d(2), nn.BatchNorm1d(12), nn.Flatten()),
        *(nn.Linear(60, 8), nn.SiLU(), nn.Hardswish(), nn.Dropout(), nn.Linear(8, 3)),
    )


def upsampling() -> nn.Module:
    """Average pooling, a transposed convolution, upsampling, adaptive pooling."""
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2), nn.ConvTranspose2d(4, 6, 2)),
        *(nn.Upsample(scale_factor=2), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(24, 2)),
    )


def _numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


ODD: dict[str, tuple[Callable[[], nn.Module], object, list[int]]] = {
    # two layers of: heads, numbers of each, hidden units; and the stream that all of them read and write
    "encoder": (Encoder, torch.arange(10).view(2, 5), [12, 3, 4, 16, 3, 4, 16]),
    "vision transformer": (VisionTransformer, _numbers(2, 1, 8, 8), [12, 2, 4]),
    "residual": (Residual, _numbers(3, 4), [8]),
    "tied": (Tied, _numbers(3, 4), [8]),
    "dense": (Dense, _numbers(3, 4), [8]),
    "squeeze and excite": (SqueezeExcite, _numbers(3, 1, 8, 8), [8, 4]),
    "einsum": (Einsum, _numbers(3, 4), [3, 6]),
    "structured": (Structured, {"left": _numbers(3, 4), "right": _numbers(3, 3)}, [6]),
    # pairs of channels, which depthwise and grouped convolutions share, cut by three groups of four: no group
    "grouped": (grouped, _numbers(2, 2, 16), [2, 8]),
    "upsampling": (upsampling, _numbers(2, 2, 12, 12), [4, 6]),
}
"""Network, inputs, units of each of its groups in order."""
