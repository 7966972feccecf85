"""How alike models err, as a picture: the IoU of the wrong sets of every pair of models."""

from typing import Any

import torch
from torch import Tensor

from pdiff.evaluation.novelty import iou_matrix
from pdiff.evaluation.thinning import spread_over

__all__ = ["LEVELS", "similarity_map"]

LEVELS = 255
"""The level that stands for 1."""


def similarity_map(original: Tensor, generated: Tensor, most: int) -> dict[str, Any]:
    """Return the similarities among at most `most` originals and as many generated models: bool [·, N] each.

    `original` and `generated` are their indices: the originals in the bank's order, which is that of their
    training, the generated ones by the place of the most similar of these originals, so that a copy lies
    beside a diagonal. `rows` has one string a model, originals first, two hexadecimal digits for each model
    in the same order: `00` is 0 and `ff` is 1.
    """
    originals = spread_over(original.shape[0], most)
    ours = torch.tensor(spread_over(generated.shape[0], most))
    nearest = iou_matrix(generated[ours], original[originals]).argmax(dim=1)
    ours = ours[nearest.argsort(stable=True)]
    wrong = torch.cat([original[originals], generated[ours]])
    levels = (LEVELS * iou_matrix(wrong, wrong)).round().to(torch.uint8)
    return {
        "original": originals,
        "generated": ours.tolist(),
        "rows": [bytes(row.tolist()).hex() for row in levels],
    }
