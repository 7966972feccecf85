"""Build torchvision's detectors on a small trunk, and let them take and give tensors.

In training they need the targets in the middle of their forward. Wrapped, they give what is left to do: the
loss as a function of the targets.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.tasks.resnet import CHANNELS, torchvision, trunk

DETECTIONS = 10
"""Q, of an image."""

Loss = Callable[[Tensor], Tensor]
"""Targets [B, G, 5] → the scalar loss of the images that a forward was given."""


class Detector(nn.Module):
    """A detector of torchvision as a network of tensors.

    `first_class` is the number that it gives class 0 (1 where 0 is its background).
    """

    def __init__(self, network: nn.Module, first_class: int) -> None:
        super().__init__()
        self.network = network
        self._first = first_class

    def forward(self, images: Tensor) -> Tensor | Loss:
        """Map [B, C, H, W] to detections [B, Q, 6], as `average_precision` takes them; in training to a loss.

        Detections have falling scores, and behind them padding of class −1.
        """
        if self.training:
            return partial(self._loss, images)
        return torch.stack([self._padded(found) for found in self.network(list(images))])

    def _loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the detector's losses, by targets [B, G, 5] with padding of class −1."""
        there = [each[each[:, 4] >= 0] for each in targets]
        wanted = [{"boxes": each[:, :4], "labels": each[:, 4].long() + self._first} for each in there]
        losses: dict[str, Tensor] = self.network(list(images), wanted)
        return torch.stack(list(losses.values())).sum()

    def _padded(self, found: dict[str, Tensor]) -> Tensor:
        """Return the detections of an image as a tensor [Q, 6]."""
        columns = [found["scores"], (found["labels"] - self._first).float()]
        rows = torch.cat([found["boxes"], torch.stack(columns, dim=1)], dim=1)
        padding = rows.new_tensor([0, 0, 0, 0, 0, -1]).expand(DETECTIONS - len(rows), -1)
        return torch.cat([rows, padding])


class _Backbone(nn.Sequential):
    """A trunk and a 1×1 convolution, which says how many channels it gives, as torchvision asks."""

    def __init__(self, network: str, channels: int) -> None:
        stages = 2
        super().__init__()
        self.trunk = nn.Sequential(trunk(stages, network))
        self.reduce = nn.Conv2d(CHANNELS[stages - 1], channels, 1)
        self.out_channels = channels


def fcos(size: int, classes: int) -> nn.Module:
    """Return FCOS (Tian et al., arXiv 1904.01355) with one level of 8-pixel steps, for images of `size`."""
    anchors = torchvision("models.detection.anchor_utils", "fcos").AnchorGenerator(((8,),), ((1.0,),))
    network = torchvision("models.detection.fcos", "fcos").FCOS(
        _Backbone("fcos", channels=64),
        classes,
        anchor_generator=anchors,
        score_thresh=0.1,
        detections_per_img=DETECTIONS,
        **_as_it_is(size),
    )
    return Detector(network, first_class=0)


def faster_rcnn(size: int, classes: int) -> nn.Module:
    """Return Faster R-CNN (Ren et al., arXiv 1506.01497) for images of `size`, objects of 16 to 32 pixels."""
    parts = torchvision("models.detection.faster_rcnn", "faster_rcnn")
    channels, hidden, side = 64, 128, 7
    anchors = parts.AnchorGenerator(((16, 24, 32),), ((0.5, 1.0, 2.0),))
    network = parts.FasterRCNN(
        _Backbone("faster_rcnn", channels),
        rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_train=50,
        rpn_post_nms_top_n_test=50,
        box_roi_pool=parts.MultiScaleRoIAlign(["0"], side, 2),
        box_head=parts.TwoMLPHead(channels * side**2, hidden),
        box_predictor=parts.FastRCNNPredictor(hidden, classes + 1),
        box_batch_size_per_image=32,
        box_score_thresh=0.1,
        box_detections_per_img=DETECTIONS,
        **_as_it_is(size),
    )
    return Detector(network, first_class=1)


def _as_it_is(size: int) -> dict[str, Any]:
    """Return the options by which a detector neither resizes nor standardises its images."""
    return {"min_size": size, "max_size": size, "image_mean": [0.0], "image_std": [1.0]}
