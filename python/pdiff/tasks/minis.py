"""Build the paper's five small networks, for images [B, 3, 64, 64], with as many parameters as it reports.

*Neural Network Diffusion* (arXiv 2402.13144, appendix) gives layers and counts: ConvNet-mini 24,262, MLP-mini
66,970, ResNet-mini 25,138, ViT-mini 80,714, ConvNeXt-mini 74,970, with ten classes. Layers that it does not
name are chosen such that the counts agree.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

SIZE = 64


def convnet_mini(classes: int) -> nn.Module:
    """Return three convolutions (kernels 7, 3, 3; widths 8, 8, 4) and three linear layers."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, stride=3), nn.BatchNorm2d(8), nn.ReLU(),  # [B, 8, 20, 20]
        nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),  # [B, 8, 9, 9]
        nn.Conv2d(8, 4, 3, padding=1), nn.ReLU(), nn.Flatten(),  # [B, 324]
        *_head(324, 64, classes),
    )  # fmt: skip


def mlp_mini(classes: int) -> nn.Module:
    """Return three linear layers on grey images of 32 × 32 pixels."""
    return nn.Sequential(_Grey(), *_head(1024, 64, classes))


def resnet_mini(classes: int) -> nn.Module:
    """Return a convolution, two residual blocks of width 8 (bottleneck 4) and three linear layers."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        _Bottleneck(8, 4), nn.MaxPool2d(2), _Bottleneck(8, 4),  # [B, 8, 8, 8]
        nn.AdaptiveAvgPool2d(3), nn.Flatten(),  # [B, 72]
        *_head(72, 256, classes),
    )  # fmt: skip


def vit_mini(classes: int) -> nn.Module:
    """Return a transformer over 64 patches: width 64, depth 4, 4 heads of 8, feed-forward width 64."""
    return _ViT(patch=8, width=64, depth=4, heads=4, head_width=8, hidden=64, classes=classes)


def convnext_mini(classes: int) -> nn.Module:
    """Return a ConvNeXt (Liu et al., arXiv 2201.03545) of depths 1, 2, 2, 2 and widths 16, 32, 32, 32."""
    from timm.models.convnext import ConvNeXt  # noqa: PLC0415 (an optional extra)

    network: nn.Module = ConvNeXt(num_classes=classes, depths=(1, 2, 2, 2), dims=(16, 32, 32, 32))
    return network


def _head(inputs: int, hidden: int, classes: int) -> list[nn.Module]:
    """Return linear layers inputs → hidden → 16 → classes with BatchNorm between them."""
    return [
        nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(),
        nn.Linear(hidden, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, classes),
    ]  # fmt: skip


class _Grey(nn.Module):
    """Averages channels and squares of 2 × 2 pixels: [B, 3, 64, 64] → [B, 1024]."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images.mean(dim=1, keepdim=True), 2).flatten(1)


class _Bottleneck(nn.Module):
    """Three convolutions (kernels 3, 1, 3) through `narrow` channels, beside a 1 × 1 convolution."""

    def __init__(self, width: int, narrow: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(width, narrow, 3, padding=1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(),
            nn.Conv2d(narrow, narrow, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(),
            nn.Conv2d(narrow, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip
        self.shortcut = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.relu(self.path(x) + self.shortcut(x))


class _Attention(nn.Module):
    """Attention of a sequence to itself after a LayerNorm: [B, L, width] → [B, L, width]."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * heads * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.queries_keys_values(self.norm(x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)  # [B, heads, L, _]
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class _ViT(nn.Module):
    """A vision transformer with fixed sine positions and mean pooling (Beyer et al., arXiv 2205.01580)."""

    positions: Tensor

    def __init__(
        self, *, patch: int, width: int, depth: int, heads: int, head_width: int, hidden: int, classes: int
    ) -> None:
        super().__init__()
        self.patches = nn.Unfold(patch, stride=patch)
        numbers = 3 * patch**2
        self.embed = nn.Sequential(nn.LayerNorm(numbers), nn.Linear(numbers, width), nn.LayerNorm(width))
        self.register_buffer("positions", _sine_positions(SIZE // patch, width), persistent=False)
        self.attention = nn.ModuleList(_Attention(width, heads, head_width) for _ in range(depth))
        self.feed = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map [B, 3, 64, 64] to logits [B, classes]."""
        x = self.embed(self.patches(images).transpose(1, 2)) + self.positions  # [B, patches, width]
        for attention, feed in zip(self.attention, self.feed, strict=True):
            x = x + attention(x)
            x = x + feed(x)
        return self.head(self.norm(x).mean(dim=1))  # type: ignore[no-any-return]


def _sine_positions(side: int, width: int) -> Tensor:
    """Return sines and cosines of both coordinates of side² places: [side², width]."""
    frequencies = 10_000 ** -torch.linspace(0, 1, width // 4)
    angles = torch.arange(side)[:, None] * frequencies  # [side, width / 4]
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    return torch.cat([waves.repeat_interleave(side, dim=0), waves.repeat(side, 1)], dim=1)


MINIS: Mapping[str, Callable[[int], nn.Module]] = {
    "convnet-mini": convnet_mini,
    "mlp-mini": mlp_mini,
    "resnet-mini": resnet_mini,
    "vit-mini": vit_mini,
    "convnext-mini": convnext_mini,
}
"""Name of each small network → what builds it for a number of classes."""
