"""Measure how alike models err: intersection over union of their sets of wrong predictions.

Masks are boolean [M, P]: M models, P parts of samples in a fixed order, True where a prediction is wrong.
Similarity and max-similarity are those of Wang et al., *Neural Network Diffusion* (arXiv 2402.13144,
section 3.1); the others are defined where they stand. Lower is more novel throughout.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_COLUMNS = 2**16
"""Parts of samples compared at a time: bounded memory, and products of zeros and ones exact in f32."""


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU of the wrong sets of every pair: bool [A, P], bool [B, P] → f64 [A, B].

    Two models without errors have the same wrong set, so an empty union counts as 1.
    """
    common = torch.zeros(len(a), len(b), dtype=torch.float64)
    for ours, theirs in zip(*(torch.split(each, _COLUMNS, dim=1) for each in (a, b)), strict=True):
        common += ours.float() @ theirs.float().T
    union = a.sum(dim=1).double()[:, None] + b.sum(dim=1).double() - common
    return torch.where(union == 0, 1.0, common / union)


@dataclass(frozen=True)
class Resemblance:
    """How a population's M models err beside the bank's members and one another: f64 [M] each."""

    max_similarity: Tensor
    """Largest IoU with a member, itself excluded."""
    containment: Tensor
    """Share of the most similar member's errors that each model repeats."""
    to_members: Tensor
    """Mean IoU with all members, itself included."""
    to_others: Tensor | None
    """Mean IoU with the other models; None for a single one."""
    to_nearest: Tensor | None
    """Largest IoU with another model."""


def resemblance(wrong: Tensor, members: Tensor) -> Resemblance:
    """Compare models with members, which may be the same tensor: bool [M, P], bool [K, P]."""
    similarity = iou(wrong, members)
    to_members = similarity.mean(dim=1)
    within = similarity if wrong is members else iou(wrong, wrong)
    size = len(within)
    to_others = to_nearest = None
    if size > 1:
        to_others = (within.sum(dim=1) - within.diagonal()) / (size - 1)
        to_nearest = _without_self(within).amax(dim=1)
    if wrong is members:
        similarity = _without_self(similarity)
    return Resemblance(
        similarity.amax(dim=1), containment(wrong, members, similarity), to_members, to_others, to_nearest
    )


def _without_self(similarity: Tensor) -> Tensor:
    """Return the similarities [M, M] with −inf for each model and itself."""
    return similarity.clone().fill_diagonal_(-torch.inf)


def containment(wrong: Tensor, members: Tensor, similarity: Tensor) -> Tensor:
    """Return the share of the most similar member's errors that each model repeats: → f64 [M].

    `similarity` is f64 [M, K], −inf where a member does not count. Containment sees through damage: a member
    that was only made worse keeps its own errors. A member without errors has all of them repeated: 1.
    """
    nearest = members[similarity.argmax(dim=1)]
    errors = nearest.sum(dim=1).double()
    repeated = (wrong & nearest).sum(dim=1).double()
    return torch.where(errors == 0, 1.0, repeated / errors)


def distinct_count(wrong: Tensor, threshold: float = 0.5) -> int:
    """Return the size of a greedy set of models whose IoU is pairwise below `threshold`: bool [M, P].

    Models are taken in order; one joins if it is below the threshold with every one that has joined.
    """
    similarity = iou(wrong, wrong)
    chosen: list[int] = []
    for candidate in range(len(similarity)):
        if bool((similarity[candidate, chosen] < threshold).all()):
            chosen.append(candidate)
    return len(chosen)
