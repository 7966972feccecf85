"""Measure whether models lie in the span of a bank's members, or between two of them.

Whether a generator extrapolates or interpolates shows in two ratios, both computed from inner products.
*Off the hull*: the distance to the affine hull of the training members over the distance to their mean; 0
for what is a combination of members (averages, principal components), 1 for what has nothing of the
directions in which they differ. *Segments*: the distance to the nearest segment between two members over
that to the nearest member; 1 where no segment comes nearer than a member, 0 for pairwise interpolation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.bank.spectrum import Spectrum, spectrum
from pdiff.evaluation.metrics.weights import Products, bank_products
from pdiff.evaluation.schema import Geometry, Hull, Segments

_ROUNDING = 1e-6
"""Largest squared distance of a copy, relative to that of the members: what f32 products leave of 0."""
_ENDS = 512
"""Nearest members of a model between which segments are looked for."""


def geometry(bank: Bank, generated: Products, held_out: Sequence[int] = ()) -> Geometry:
    """Return the mean ratios of the generated models and of the members beside them.

    The hull is that of the training members, None where it is the whole space; a member's own segments are
    left out.
    """
    originals = bank_products(bank)
    training = torch.tensor([index for index in range(len(bank)) if index not in set(held_out)])
    hull = None
    if len(training) - 1 < bank.dim:
        members = spectrum(bank.view(training.tolist()), "tensor")
        unseen = off_hull(originals.around(training), members)[list(held_out)]
        hull = Hull(
            generated=float(off_hull(generated.around(training), members).mean()),
            held_out=float(unseen.mean()) if len(held_out) else None,
        )
    ratio, between = nearest_segments(generated)
    own_ratio, own_between = nearest_segments(originals, members=True)
    segments = Segments(
        generated=float(ratio.mean()),
        original=float(own_ratio.mean()),
        between=float(between.double().mean()),
        between_original=float(own_between.double().mean()),
    )
    return Geometry(affine_hull=hull, segments=segments)


def off_hull(models: Products, members: Spectrum) -> Tensor:
    """Return ‖x − Px‖ / ‖x‖ around the members' mean, P the projection on their span: f64 [M].

    0 for a model that is the mean. With the Gram matrix X Xᵀ = V Λ Vᵀ, ‖Px‖² = ‖Λ^(−1/2) Vᵀ (X x)‖².
    """
    inside = ((models.cross @ members.vectors).square() / members.values).sum(dim=1)
    ratio = (models.squares - inside).clamp(min=0) / models.squares
    return torch.where(models.squares > 0, ratio, 0.0).sqrt()


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
    lengths = Products(found.gram, found.gram.diagonal(), found.gram).squared_distances()
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
