"""Find and name the garments in scenes of one to three."""

from functools import partial
from pathlib import Path
from types import MappingProxyType

from torch import Tensor

from pdiff.common.errors import UsageError
from pdiff.tasks.base import Split
from pdiff.tasks.detectors import Loss, faster_rcnn, fcos
from pdiff.tasks.fashion_files import CLASSES
from pdiff.tasks.metrics import average_precision, missed
from pdiff.tasks.networks import NetworkTable
from pdiff.tasks.scenes import SCENE, SceneData


class Detection(NetworkTable):
    """Scenes [N, 1, 64, 64] f32 and their boxes [N, 3, 5] f32: x1, y1, x2, y2, class, −1 where there is none.

    Outputs in eval mode are detections [B, Q, 6]: x1, y1, x2, y2, score, class; in training mode a function
    from targets to the loss. Reads Fashion-MNIST as the task `fashion` does.
    """

    name = "detection"
    metric = average_precision(CLASSES)
    networks = MappingProxyType(
        {
            "fcos": partial(fcos, SCENE, CLASSES),
            "faster_rcnn": partial(faster_rcnn, SCENE, CLASSES),
        }
    )
    architectures = tuple(networks)

    def __init__(self, data_root: str | Path | None = None) -> None:
        self._scenes = SceneData(data_root)

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return scenes [N, 1, 64, 64] f32 and boxes [N, 3, 5] f32."""
        scenes = self._scenes(split)
        return scenes.pictures, scenes.boxes

    def loss(self, outputs: Tensor | Loss, targets: Tensor) -> Tensor:
        """Return the sum of the detector's losses; raises `UsageError` for detections, which have none."""
        if isinstance(outputs, Tensor):
            raise UsageError(f"task {self.name}: the loss needs a network in training mode")
        return outputs(targets)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return which garments are missed or taken for others: bool [B, 3]."""
        return missed(outputs, targets)
