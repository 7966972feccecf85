"""Build torchvision's ResNet-18, or the first stages of it, for pictures of one channel."""

from collections import OrderedDict
from importlib import import_module
from typing import Any

from torch import nn

from pdiff.common.errors import missing

CHANNELS = (64, 128, 256, 512)
"""Of what each of the four stages gives."""


def torchvision(module: str, network: str) -> Any:
    """Import `torchvision.MODULE`; raises `UsageError` that names the network which needs it."""
    try:
        return import_module(f"torchvision.{module}")  # an optional extra
    except ImportError as error:
        raise missing(error, network) or error from None


def resnet18(classes: int, network: str = "resnet18") -> nn.Module:
    """Return the whole network, [B, 1, H, W] to [B, classes]; `network` is the name that an error gives."""
    built: nn.Module = torchvision("models", network).resnet18(num_classes=classes)
    built.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(built.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision does
    return built


def trunk(stages: int, network: str) -> OrderedDict[str, nn.Module]:
    """Return the layers of the first `stages`, 2 to 4, in their order.

    They map [B, 1, H, W] to [B, CHANNELS[stages - 1], H / 8, W / 8]: from the third stage on none halves the
    picture again, as in networks for dense predictions.
    """
    whole = resnet18(1, network)
    for stage in ("layer3", "layer4"):
        for name in ("conv1", "downsample.0"):
            convolution = whole.get_submodule(f"{stage}.0.{name}")
            assert isinstance(convolution, nn.Conv2d)
            convolution.stride = (1, 1)
    names = ("conv1", "bn1", "relu", "maxpool", *(f"layer{stage}" for stage in range(1, stages + 1)))
    return OrderedDict((name, whole.get_submodule(name)) for name in names)
