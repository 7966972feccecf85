"""Read Fashion-MNIST: 70,000 photographs of clothes in ten classes (Xiao et al., arXiv 1708.07747)."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pdiff.common.errors import InputError
from pdiff.tasks.base import Split
from pdiff.tasks.idx import read_idx

CLASSES = 10
SIZE = 28
TRAIN = 55_000  # of the 60,000 training images; the last 5,000 are the validation split
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts them

Images = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Pixels u8 [N, 28, 28] and classes i64 [N]."""

_COUNTS = {"train": 60_000, "t10k": 10_000}


def part(split: Split) -> slice:
    """Return which images of its files a split is."""
    return {"train": slice(TRAIN), "validation": slice(TRAIN, None), "test": slice(None)}[split]


def read_split(root: Path, split: Split) -> Images:
    """Read the images and classes of a split, in the files' order; see `read_images`."""
    images, labels = read_images(root, "t10k" if split == "test" else "train")
    return images[part(split)], labels[part(split)]


def read_images(root: Path, prefix: Literal["train", "t10k"]) -> Images:
    """Read the training or the test images from `root`: the folder itself, or `FashionMNIST/raw` in it.

    Raises `InputError` if files are missing, damaged or of something else.
    """
    n = _COUNTS[prefix]
    folder = _folder(root, f"{prefix}-images-idx3-ubyte.gz")
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz", (n, SIZE, SIZE))
    labels_file = folder / f"{prefix}-labels-idx1-ubyte.gz"
    if not labels_file.is_file():
        raise InputError(f"{labels_file}: missing beside its images")
    labels = read_idx(labels_file, (n,))
    if labels.max() >= CLASSES:
        raise InputError(f"{labels_file}: holds the label {labels.max()}, expected 0 to {CLASSES - 1}")
    return images, labels.astype(np.int64)


def _folder(root: Path, file: str) -> Path:
    """Return the folder that holds `file`: `root`, or torchvision's folder in it."""
    for folder in (root, root / "FashionMNIST" / "raw"):
        if (folder / file).is_file():
            return folder
    raise InputError(
        f"{root}: no {file} here or in FashionMNIST/raw; get Fashion-MNIST with "
        "`apt install dataset-fashion-mnist`, or name a folder that has it with --data-root"
    )
