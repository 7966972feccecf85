"""Compose pictures of one to three garments of Fashion-MNIST, with classes of pixels and boxes."""

from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdiff.common.rng import numpy_generator
from pdiff.tasks.base import Split
from pdiff.tasks.fashion_files import DEBIAN, SIZE, Images, read_split

SCENE = 64
"""Pixels of a scene's side."""
MOST = 3
"""Garments in a scene."""
SIZES = MappingProxyType({"train": 4_000, "validation": 400, "test": 500})
SEED = 42
DARKEST = 16
"""The darkest pixel (of 0 to 255) that belongs to a garment; below are shadows and noise."""
APART = 14
"""Pixels that two garments are apart, in one direction at least: one covers half of another at most."""


class Composed(NamedTuple):
    """One scene."""

    picture: NDArray[np.uint8]
    """[64, 64]."""
    classes: NDArray[np.uint8]
    """[64, 64], 0 for the background, else 1 and the garment's class."""
    boxes: NDArray[np.float32]
    """[3, 5]: x1, y1, x2, y2 around what can be seen of a garment, and its class; -1 where there is none."""


class Scenes(NamedTuple):
    """N scenes."""

    pictures: Tensor
    """F32 [N, 1, 64, 64], -1 to 1."""
    classes: Tensor
    """U8 [N, 64, 64]."""
    boxes: Tensor
    """F32 [N, 3, 5]."""


class SceneData:
    """The scenes of each split, made of that split's images of Fashion-MNIST: 4,000 / 400 / 500.

    Scene i of a split is the same however many there are. Raises `InputError` where the files under
    `data_root` are not there or not whole.
    """

    def __init__(self, data_root: str | Path | None = None) -> None:
        self._root = DEBIAN if data_root is None else Path(data_root)
        self._made: dict[Split, Scenes] = {}

    def __call__(self, split: Split) -> Scenes:
        """Return the scenes of a split; made once."""
        if split not in self._made:
            images = read_split(self._root, split)
            composed = [
                compose(images, numpy_generator(SEED, f"scenes/{split}", index))
                for index in range(SIZES[split])
            ]
            pictures, classes, boxes = (
                torch.from_numpy(np.stack(part)) for part in zip(*composed, strict=True)
            )
            self._made[split] = Scenes(pictures.float().div_(127.5).sub_(1).unsqueeze(1), classes, boxes)
        return self._made[split]


def compose(images: Images, generator: np.random.Generator) -> Composed:
    """Draw which garments are in a scene and where, and lay them over one another."""
    n = int(generator.integers(1, MOST + 1))
    chosen = generator.choice(len(images[0]), n, replace=False)
    picture = np.zeros((SCENE, SCENE), np.uint8)
    seen = np.full((SCENE, SCENE), -1)  # which garment a pixel is of
    for index, (garment, (top, left)) in enumerate(zip(chosen, corners(generator, n), strict=True)):
        pixels = images[0][garment]
        inside = pixels >= DARKEST
        place = (slice(top, top + SIZE), slice(left, left + SIZE))
        picture[place][inside] = pixels[inside]
        seen[place][inside] = index
    labels = images[1][chosen]
    classes = np.where(seen < 0, 0, labels[seen] + 1).astype(np.uint8)
    boxes = np.full((MOST, 5), -1, np.float32)
    for index in range(n):
        if (seen == index).any():
            boxes[index] = (*_around(seen == index), labels[index])
    return Composed(picture, classes, boxes)


def corners(generator: np.random.Generator, n: int) -> list[tuple[int, int]]:
    """Draw the upper left corners of up to three garments, `APART` pixels from one another."""
    found: list[tuple[int, int]] = []
    while len(found) < n:
        top, left = generator.integers(SCENE - SIZE + 1, size=2).tolist()
        if all(max(abs(top - y), abs(left - x)) >= APART for y, x in found):
            found.append((top, left))
    return found


def _around(inside: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return x1, y1, x2, y2 of the smallest box around pixels; x2 and y2 lie behind the last ones."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
