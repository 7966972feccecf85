"""Where models lie among a bank's members: off its affine hull, and beside the segments between members.

Whether a generator extrapolates or interpolates shows in two ratios, both computed from inner products.
*Off the hull*: the distance to the affine hull of the training members over the distance to their mean; 0
for what is a combination of members (averages, principal components), 1 for what has nothing of the
directions in which they differ. *Segments*: the distance to the nearest segment between two members over
that to the nearest member; 1 where no segment comes nearer than a member, 0 for pairwise interpolation.
"""

from typing import Any

import torch
from torch import Tensor

from pdiff.evaluation.products import Products, bank_products, select

__all__ = ["geometry", "nearest_segments", "off_hull"]

_TOLERANCE = 1e-8
"""Smallest eigenvalue of the Gram matrix that counts, relative to the largest."""
_ROUNDING = 1e-6
"""Largest squared distance of a copy, relative to that of the members: what f32 products leave of 0."""
_ENDS = 512
"""Nearest members of a model between which segments are looked for."""


def geometry(generated: Products, gram: Tensor, dim: int, held_out: tuple[int, ...] = ()) -> dict[str, Any]:
    """Return the part `geometry` of the results; `gram` [K, K] is the bank's own, centred.

    `affine_hull`: `generated` and `held_out` are mean ratios off the hull of the training members;
    `held_out` is None where there are none, all of it where that hull is the whole space.
    `segments`: `generated` and `original` are mean ratios of the distances, a member's own segments left
    out; `between` and `between_original` are the shares of models whose nearest point of a segment lies
    strictly between its ends.
    """
    training = _others(len(gram), held_out)
    hull = None
    if len(training) - 1 < dim:
        everyone = torch.arange(len(generated.cross))
        kept = torch.tensor(held_out, dtype=torch.int64)
        originals = bank_products(gram)
        hull = {
            "generated": float(off_hull(select(generated, everyone, training)).mean()),
            "held_out": float(off_hull(select(originals, kept, training)).mean()) if held_out else None,
        }
    return {"affine_hull": hull, "segments": _segments(generated, gram)}


def _others(count: int, left_out: tuple[int, ...]) -> Tensor:
    """Return the indices below `count` that are not in `left_out`."""
    return torch.tensor([index for index in range(count) if index not in set(left_out)])


def off_hull(found: Products) -> Tensor:
    """Return ‖x − Px‖ / ‖x‖ around the members' mean, P the projection on their span: f64 [M].

    0 for a model that is the mean. With the Gram matrix X Xᵀ = V Λ Vᵀ, ‖Px‖² = ‖Λ^(−1/2) Vᵀ (X x)‖².
    """
    values, vectors = torch.linalg.eigh(found.gram)
    kept = values > _TOLERANCE * values[-1].clamp(min=0)
    inside = ((found.cross @ vectors[:, kept]).square() / values[kept]).sum(dim=1)
    ratio = (found.squares - inside).clamp(min=0) / found.squares
    return torch.where(found.squares > 0, ratio, 0.0).sqrt()


def _segments(generated: Products, gram: Tensor) -> dict[str, float]:
    ratio, between = nearest_segments(generated)
    own_ratio, own_between = nearest_segments(bank_products(gram), members=True)
    return {
        "generated": float(ratio.mean()),
        "original": float(own_ratio.mean()),
        "between": float(between.double().mean()),
        "between_original": float(own_between.double().mean()),
    }


def nearest_segments(found: Products, *, members: bool = False) -> tuple[Tensor, Tensor]:
    """Return how near each model comes to the segments between two members, and whether between their ends.

    F64 [M]: the distance to the nearest segment over that to the nearest member, 1 for a copy; bool [M]. With
    `members`, model i is member i, which is no end. Segments are those between a model's 512 nearest members.
    """
    distances = found.squared_distances()
    if members:
        distances.fill_diagonal_(torch.inf)
    count = min(_ENDS, distances.shape[1] - members)
    ends = distances.topk(count, largest=False).indices  # [M, count], nearest first
    lengths = bank_products(found.gram).squared_distances()
    pairs = [
        _nearest_segment(row[near], lengths[near][:, near]) for row, near in zip(distances, ends, strict=True)
    ]
    ratios, between = zip(*pairs, strict=True)
    return torch.tensor(ratios, dtype=torch.float64), torch.tensor(between)


def _nearest_segment(distances: Tensor, lengths: Tensor) -> tuple[float, bool]:
    """Return the ratio and whether the point is between the ends, for one model.

    `distances` [n] are squared, to the ends; `lengths` [n, n] are the squared ones between them. The point of
    a segment from a to b at fraction t is ‖x − a‖² − 2 t s + t² l away (squared), where the scalar product
    s = (x − a) · (b − a) = (‖x − a‖² + l − ‖x − b‖²) / 2.
    """
    if float(distances[0]) <= _ROUNDING * float(lengths.max()):
        return 1.0, False
    scalar = (distances[:, None] + lengths - distances) / 2
    fraction = torch.where(lengths > 0, scalar / lengths, 0.0).clamp(0, 1)
    squared = distances[:, None] - 2 * fraction * scalar + fraction.square() * lengths
    best = int(squared.argmin())
    at = float(fraction.flatten()[best])
    ratio = max(float(squared.flatten()[best]), 0.0) / float(distances[0])
    return min(ratio, 1.0) ** 0.5, 0 < at < 1
