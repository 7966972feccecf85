"""Load the UCI handwritten digits: 1,797 real scans of 8×8 pixels, shipped with the package.

E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository, 1998,
doi 10.24432/C50P49, licence CC BY 4.0. The file `assets/digits.npz` holds the test part of that set, as
scikit-learn distributes it, repacked without other change; see `assets/digits.txt`.
"""

from functools import cache, partial
from importlib.resources import files
from itertools import accumulate, pairwise
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdiff.common.rng import numpy_generator
from pdiff.tasks.base import Split
from pdiff.tasks.networks import BuiltIn, convnet2d, mlp

CLASSES = 10
SIZE = 8
SEED = 42
SIZES: dict[Split, int] = {"train": 1_097, "validation": 200, "test": 500}
LARGEST = 16.0  # pixels are 0 to 16


def stratified_order(labels: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.int64]:
    """Return an order of the samples in which every stretch holds the classes in their overall shares."""
    order = generator.permutation(labels.size)
    place = np.empty(labels.size)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        place[members] = (np.arange(members.size) + 0.5) / members.size
    return np.argsort(place, kind="stable")


@cache
def _dataset() -> dict[Split, tuple[Tensor, Tensor]]:
    """Read the scans and split them: inputs [N, 1, 8, 8] f32 in [-1, 1], labels [N] i64."""
    with (files("pdiff.tasks") / "assets" / "digits.npz").open("rb") as file:
        arrays = np.load(file)
        images, labels = arrays["images"], arrays["labels"]
    order = stratified_order(labels, numpy_generator(SEED, "digits/split"))
    inputs = torch.from_numpy(images[order].astype(np.float32)).div_(LARGEST / 2).sub_(1).unsqueeze(1)
    targets = torch.from_numpy(labels[order].astype(np.int64))
    bounds = pairwise(accumulate(SIZES.values(), initial=0))
    return {split: (inputs[a:b], targets[a:b]) for split, (a, b) in zip(SIZES, bounds, strict=True)}


class Digits(BuiltIn):
    """Handwritten digits: inputs [N, 1, 8, 8] f32, ten classes, 1,097 / 200 / 500 samples, stratified."""

    name = "digits"
    networks = MappingProxyType(
        {
            "convnet": partial(convnet2d, SIZE, widths=(16, 16), classes=CLASSES),
            "mlp": partial(mlp, SIZE**2, hidden=(32, 32), classes=CLASSES),
        }
    )
    architectures = tuple(networks)

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return inputs [N, 1, 8, 8] f32 and labels [N] i64 in a fixed order."""
        return _dataset()[split]
