"""Tell ten classes of clothes apart on Fashion-MNIST."""

from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from pdiff.tasks.base import Split
from pdiff.tasks.fashion_files import CLASSES, DEBIAN, SIZE, Images, part, read_images
from pdiff.tasks.hyper import cnn
from pdiff.tasks.networks import BuiltIn, convnet2d
from pdiff.tasks.resnet import resnet18

MEAN, STD = 0.2860, 0.3530  # of the training images' pixels, scaled to [0, 1]


class Fashion(BuiltIn):
    """Fashion-MNIST: inputs [N, 1, 28, 28] f32, standardised; 55,000 / 5,000 / 10,000 samples.

    Reads the four `.gz` files under `data_root`: the folder itself, or torchvision's `FashionMNIST/raw` in
    it. Without `data_root` it looks where Debian's package puts them. Files are read when data is first
    asked for; `InputError` says how to get them if they are not there.
    """

    name = "fashion"
    networks = MappingProxyType(
        {
            "convnet": partial(convnet2d, SIZE, (16, 32, 32), CLASSES),
            "resnet18": partial(resnet18, CLASSES),
            "cnn": partial(cnn, CLASSES, channels=1),
        }
    )
    architectures = tuple(networks)

    def __init__(self, data_root: str | Path | None = None) -> None:
        self._root = DEBIAN if data_root is None else Path(data_root)

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return inputs [N, 1, 28, 28] f32 and labels [N] i64; read once, in the files' order."""
        inputs, labels = self._test if split == "test" else self._training
        return inputs[part(split)], labels[part(split)]

    @cached_property
    def _training(self) -> tuple[Tensor, Tensor]:
        return _standardised(read_images(self._root, "train"))

    @cached_property
    def _test(self) -> tuple[Tensor, Tensor]:
        return _standardised(read_images(self._root, "t10k"))


def _standardised(read: Images) -> tuple[Tensor, Tensor]:
    images, labels = read
    pixels = torch.from_numpy(images.astype(np.float32)).div_(255).sub_(MEAN).div_(STD)
    return pixels.unsqueeze(1), torch.from_numpy(labels)
