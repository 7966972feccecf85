"""Load Fashion-MNIST: 70,000 real photographs of clothes in ten classes (Xiao et al., arXiv 1708.07747)."""

from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from pdiff.common.errors import InputError, UsageError
from pdiff.tasks.base import Split
from pdiff.tasks.hyper import cnn
from pdiff.tasks.idx import read_idx
from pdiff.tasks.networks import BuiltIn, convnet2d

CLASSES = 10
SIZE = 28
TRAIN = 55_000  # of the 60,000 training images; the last 5,000 are the validation split
MEAN, STD = 0.2860, 0.3530  # of the training images' pixels, scaled to [0, 1]
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts them


def _resnet18() -> nn.Module:
    """Return torchvision's ResNet-18 for one input channel and ten classes."""
    try:
        from torchvision.models import resnet18  # noqa: PLC0415 (an optional extra)
    except ImportError:
        raise UsageError("resnet18 needs torchvision: pip install 'pdiff-nn[vision]'") from None
    network: nn.Module = resnet18(num_classes=CLASSES)
    network.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision does
    return network


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
            "resnet18": _resnet18,
            "cnn": partial(cnn, CLASSES, channels=1),
        }
    )
    architectures = tuple(networks)

    def __init__(self, data_root: str | Path | None = None) -> None:
        self._root = DEBIAN if data_root is None else Path(data_root)

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return inputs [N, 1, 28, 28] f32 and labels [N] i64; read once, in the files' order."""
        if split == "test":
            return self._test
        inputs, labels = self._training
        part = slice(TRAIN) if split == "train" else slice(TRAIN, None)
        return inputs[part], labels[part]

    @cached_property
    def _training(self) -> tuple[Tensor, Tensor]:
        return self._read("train", 60_000)

    @cached_property
    def _test(self) -> tuple[Tensor, Tensor]:
        return self._read("t10k", 10_000)

    def _read(self, prefix: str, n: int) -> tuple[Tensor, Tensor]:
        folder = self._folder(f"{prefix}-images-idx3-ubyte.gz")
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz", (n, SIZE, SIZE))
        labels_file = folder / f"{prefix}-labels-idx1-ubyte.gz"
        if not labels_file.is_file():
            raise InputError(f"{labels_file}: missing beside its images")
        labels = read_idx(labels_file, (n,))
        if labels.max() >= CLASSES:
            raise InputError(f"{labels_file}: holds the label {labels.max()}, expected 0 to {CLASSES - 1}")
        pixels = torch.from_numpy(images.astype(np.float32)).div_(255).sub_(MEAN).div_(STD)
        return pixels.unsqueeze(1), torch.from_numpy(labels.astype(np.int64))

    def _folder(self, file: str) -> Path:
        """Return the folder that holds `file`: `data_root`, or torchvision's folder in it."""
        for folder in (self._root, self._root / "FashionMNIST" / "raw"):
            if (folder / file).is_file():
                return folder
        raise InputError(
            f"{self._root}: no {file} here or in FashionMNIST/raw; get Fashion-MNIST with "
            "`apt install dataset-fashion-mnist`, or name a folder that has it with --data-root"
        )
