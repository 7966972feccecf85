"""Tell the class of each pixel in scenes of one to three garments."""

from collections import OrderedDict
from functools import partial
from pathlib import Path
from types import MappingProxyType

from torch import Tensor, nn
from torch.nn import functional as F

from pdiff.tasks.base import Split
from pdiff.tasks.fashion_files import CLASSES
from pdiff.tasks.metrics import mean_iou
from pdiff.tasks.networks import NetworkTable
from pdiff.tasks.resnet import CHANNELS, torchvision, trunk
from pdiff.tasks.scenes import SceneData

REGION = 8
"""Pixels of a region's side."""


class SkipNet(nn.Module):
    """Convolutions whose every scale says which classes it sees, added up from coarse to fine.

    The skip architecture of Long et al., *Fully Convolutional Networks for Semantic Segmentation*
    (arXiv 1411.4038, section 4.2), for small pictures.
    """

    def __init__(self, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        stages, channels = [], 1
        for width in widths:
            layers = [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            stages.append(nn.Sequential(*layers))
            channels = width
        self.stages = nn.ModuleList(stages)
        self.heads = nn.ModuleList(nn.Conv2d(width, classes, 1) for width in widths)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map [B, 1, H, W] to logits [B, classes, H, W]."""
        seen = [self.stages[0](pictures)]
        for stage in self.stages[1:]:
            seen.append(stage(F.max_pool2d(seen[-1], 2)))
        logits: Tensor = self.heads[-1](seen[-1])
        for head, features in zip(reversed(self.heads[:-1]), reversed(seen[:-1]), strict=True):
            finer = F.interpolate(logits, features.shape[-2:], mode="bilinear", align_corners=False)
            logits = finer + head(features)
        return logits


class _Logits(nn.Module):
    """A segmentation network of torchvision that gives logits instead of a dictionary of them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        """Map [B, 1, H, W] to logits [B, classes, H, W]."""
        logits: Tensor = self.network(pictures)["out"]
        return logits


class _Named(nn.Module):
    """Layers that give their result the name by which torchvision's `FCN` asks for it."""

    def __init__(self, layers: OrderedDict[str, nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(layers)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Map [B, 1, H, W] to features [B, channels, H', W']."""
        return {"out": self.layers(pictures)}


def _fcn(classes: int) -> nn.Module:
    """Return torchvision's FCN on three stages of its ResNet-18."""
    fcn, stages = torchvision("models.segmentation.fcn", "fcn"), 3
    backbone = _Named(trunk(stages, "fcn"))
    return _Logits(fcn.FCN(backbone, fcn.FCNHead(CHANNELS[stages - 1], classes)))


class Segmentation(NetworkTable):
    """Scenes [N, 1, 64, 64] f32 and their pixels' classes [N, 64, 64] u8: the background and ten garments.

    A region of 8×8 pixels is wrong where more than a quarter of its pixels are. Reads Fashion-MNIST as the
    task `fashion` does.
    """

    name = "segmentation"
    metric = mean_iou(CLASSES + 1)
    tolerance = 0.25
    networks = MappingProxyType(
        {
            "convnet": partial(SkipNet, (16, 32, 64, 64), CLASSES + 1),
            "fcn": partial(_fcn, CLASSES + 1),
        }
    )
    architectures = tuple(networks)

    def __init__(self, data_root: str | Path | None = None) -> None:
        self._scenes = SceneData(data_root)

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return scenes [N, 1, 64, 64] f32 and classes [N, 64, 64] u8."""
        scenes = self._scenes(split)
        return scenes.pictures, scenes.classes

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy of all pixels."""
        return F.cross_entropy(outputs, targets.long())

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the share of wrong pixels in each region: f32 [B, 64], row after row."""
        wrong = (outputs.argmax(dim=1) != targets).float()
        return F.avg_pool2d(wrong, REGION).flatten(1)
