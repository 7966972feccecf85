"""Define the classification of photographs: data sets on the user's disk, the paper's networks."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from pdiff.common.errors import InputError, UsageError, missing, unknown
from pdiff.common.rng import numpy_generator
from pdiff.tasks.backbones import BACKBONES
from pdiff.tasks.base import Classification, Split
from pdiff.tasks.datasets import SOURCES, Part, Samples
from pdiff.tasks.hyper import HYPER
from pdiff.tasks.minis import MINIS

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels, in [0, 1]
SHARE = 0.1
LARGEST = 5_000
SEED = 42
MARGIN = 256 / 224
"""A photograph's shorter side is resized to so many times the size, of which the centre is cut out."""


class Pictures(Classification):
    """Photographs in the layout in which torchvision stores a data set, under `data_root`.

    Inputs are [N, C, size, size] f32, standardised; larger photographs are resized and cut to their centre. A
    tenth of the training samples, at most 5,000, are the validation split. `download` lets torchvision fetch
    what is missing when data is first asked for; nothing is fetched otherwise.
    """

    def __init__(
        self,
        name: str,
        data_root: str | Path = "data",
        *,
        size: int = 224,
        download: bool = False,
        workers: int = 0,
    ) -> None:
        if size < 1:
            raise UsageError(f"size is {size}; expected 1 or more")
        self.name, self.workers = name, workers
        self._source, self._size, self._download = SOURCES[name], size, download
        self._root = Path(data_root)
        classes, channels = self._source.classes, self._source.channels
        large = {arch: partial(build, classes) for arch, build in {**BACKBONES, **MINIS}.items()}
        small = {arch: partial(build, classes, channels) for arch, build in HYPER.items()}
        self._networks: Mapping[str, Callable[[], nn.Module]] = small if channels == 1 else large | small
        self.architectures = tuple(self._networks)

    def build(self, arch: str) -> nn.Module:
        """Return a freshly initialised network for the classes of the data set."""
        if arch not in self._networks:
            raise unknown(f"architecture of {self.name}", arch, self._networks)
        try:
            return self._networks[arch]()
        except ModuleNotFoundError as error:
            raise missing(error, arch) or error from None

    def data(self, split: Split) -> Dataset[tuple[Tensor, int]]:
        """Return pairs of an image [C, size, size] f32 and its class, in a fixed order."""
        samples = self._samples("test" if split == "test" else "train")
        if split == "test":
            return _Images(samples, range(len(samples.labels)), self._size)
        n = len(samples.labels)
        order = numpy_generator(SEED, f"{self.name}/split").permutation(n)
        held_out = max(1, min(LARGEST, round(SHARE * n)))
        chosen = order[:held_out] if split == "validation" else order[held_out:]
        return _Images(samples, chosen.tolist(), self._size)

    def _samples(self, part: Part) -> Samples:
        try:
            return self._source.read(self._root, part)
        except InputError as error:
            if self._download and self._source.torchvision:
                _download(self._source.torchvision, self._root)
                return self._source.read(self._root, part)
            fetch = ", or fetch it with --download" if self._source.torchvision else ""
            raise InputError(f"{error}; name the data set's folder with --data-root{fetch}") from None


class _Images(Dataset[tuple[Tensor, int]]):
    """Some of the samples of a data set, standardised and brought to one size."""

    def __init__(self, samples: Samples, chosen: Sequence[int], size: int) -> None:
        self._samples, self._chosen, self._size = samples, chosen, size

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        place = self._chosen[index]
        found = self._samples.images[place]
        pixels = _decoded(found) if isinstance(found, Path) else torch.tensor(found)
        image = (pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)).float().div_(255)
        image = _sized(image, self._size)
        for channel, mean, std in zip(image, MEAN, STD, strict=False):
            channel.sub_(mean).div_(std)
        return image, int(self._samples.labels[place])


def _decoded(path: Path) -> Tensor:
    """Return the pixels of a file: u8 [H, W, 3]."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 (comes with torchvision)

    try:
        with Image.open(path) as image:
            return torch.from_numpy(np.array(image.convert("RGB")))
    except UnidentifiedImageError:
        raise InputError(f"{path}: not an image") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


def _sized(image: Tensor, size: int) -> Tensor:
    """Resize an image [C, H, W] so that its shorter side holds the size and a margin; return the centre.

    A square image has no margin to lose: it is only resized.
    """
    height, width = image.shape[1:]
    if height == width == size:
        return image
    shorter = size if height == width else round(size * MARGIN)
    scale = shorter / min(height, width)
    shape = [max(size, round(side * scale)) for side in (height, width)]
    resized = nn.functional.interpolate(image[None], shape, mode="bilinear", antialias=True)[0]
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    return resized[:, top : top + size, left : left + size].contiguous()


def _download(name: str, root: Path) -> None:
    """Have torchvision download a data set and lay it out under `root`."""
    from torchvision import datasets  # noqa: PLC0415 (an optional extra)

    kind: Any = getattr(datasets, name)
    try:
        for split in ("train", "test") if name in ("STL10", "SVHN") else (None,):
            kind(root, download=True, **({} if split is None else {"split": split}))
    except (OSError, RuntimeError) as error:
        raise InputError(f"{root}: torchvision could not fetch {name}: {error}") from None
