"""Build the large networks of the paper with random weights: torchvision's ResNets, timm's transformers."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import nn


def _torchvision(name: str, classes: int) -> nn.Module:
    from torchvision import models  # noqa: PLC0415 (an optional extra)

    network: nn.Module = models.get_model(name, weights=None, num_classes=classes)
    return network


def _timm(name: str, classes: int) -> nn.Module:
    from timm import create_model  # noqa: PLC0415 (an optional extra)

    network: nn.Module = create_model(name, pretrained=False, num_classes=classes)
    return network


BACKBONES: Mapping[str, Callable[[int], nn.Module]] = {
    "resnet18": partial(_torchvision, "resnet18"),
    "resnet50": partial(_torchvision, "resnet50"),
    "vit-tiny": partial(_timm, "vit_tiny_patch16_224"),
    "vit-base": partial(_timm, "vit_base_patch16_224"),
    "convnext-tiny": partial(_timm, "convnext_tiny"),
    "convnext-base": partial(_timm, "convnext_base"),
}
"""Name of each large network, for images [B, 3, 224, 224] → what builds it for a number of classes."""
