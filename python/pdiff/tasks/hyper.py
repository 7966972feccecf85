"""Build the three-layer convolutional network of the hyper-representation papers, for images of 28 × 28."""

from collections.abc import Callable, Mapping

from torch import nn

SIZE = 28


def cnn(classes: int, channels: int) -> nn.Module:
    """Return three convolutions (kernels 5, 5, 2; widths 8, 6, 4) and two linear layers.

    Images are [B, channels, 28, 28]. Schürholt et al., *Model Zoos* (arXiv 2209.14764): 2,464 parameters with
    one channel and ten classes.
    """
    return nn.Sequential(
        nn.Conv2d(channels, 8, 5), nn.MaxPool2d(2), nn.LeakyReLU(),  # [B, 8, 12, 12]
        nn.Conv2d(8, 6, 5), nn.MaxPool2d(2), nn.LeakyReLU(),  # [B, 6, 4, 4]
        nn.Conv2d(6, 4, 2), nn.LeakyReLU(), nn.Flatten(),  # [B, 36]
        nn.Linear(36, 20), nn.LeakyReLU(), nn.Linear(20, classes),
    )  # fmt: skip


HYPER: Mapping[str, Callable[[int, int], nn.Module]] = {"cnn": cnn}
"""Name of the network → what builds it for a number of classes and of channels."""
