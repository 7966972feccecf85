"""How alike models err: intersection over union of their sets of wrong predictions.

Masks are boolean [M, N]: M models, N samples in a fixed order, True where the prediction is wrong.
Similarity and max-similarity are those of Wang et al., *Neural Network Diffusion* (arXiv 2402.13144,
section 3.1); the others are defined where they stand. Lower is more novel throughout.
"""

import torch
from torch import Tensor

__all__ = [
    "containment",
    "distinct_count",
    "iou_matrix",
    "max_similarity",
    "mean_similarity",
    "similarity_to_others",
    "without_self",
]


def iou_matrix(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU of the wrong sets of every pair: bool [A, N], bool [B, N] → f64 [A, B].

    Two models without errors have the same wrong set, so an empty union counts as 1. Counts are exact: a
    float32 product of zeros and ones is an integer below 2²⁴ as long as N is.
    """
    if a.shape[1] >= 2**24:
        raise ValueError(f"{a.shape[1]} samples; at most {2**24 - 1} are counted exactly")
    intersection = (a.float() @ b.float().T).double()
    union = a.sum(dim=1).double()[:, None] + b.sum(dim=1).double() - intersection
    return torch.where(union == 0, 1.0, intersection / union)


def without_self(similarity: Tensor) -> Tensor:
    """Return the similarities within one set [M, M] with −inf for each model and itself."""
    return similarity.clone().fill_diagonal_(-torch.inf)


def max_similarity(similarity: Tensor) -> Tensor:
    """Return each model's largest similarity to a bank member: f64 [M, K] → f64 [M]."""
    return similarity.amax(dim=1)


def mean_similarity(similarity: Tensor) -> float:
    """Return the mean over pairs of different models of one set: f64 [M, M], M ≥ 2 (the paper's OO, GG)."""
    m = len(similarity)
    return float((similarity.sum() - similarity.diagonal().sum()) / (m * (m - 1)))


def similarity_to_others(similarity: Tensor) -> Tensor:
    """Return each model's mean similarity to the others of its set: f64 [M, M], M ≥ 2 → f64 [M].

    Their mean is `mean_similarity`.
    """
    return (similarity.sum(dim=1) - similarity.diagonal()) / (len(similarity) - 1)


def distinct_count(similarity: Tensor, threshold: float = 0.5) -> int:
    """Return the size of a greedy set whose members are pairwise less similar than `threshold`: [M, M].

    Models are taken in order; one joins if it is below the threshold with every one that has joined.
    """
    chosen: list[int] = []
    for candidate in range(len(similarity)):
        if bool((similarity[candidate, chosen] < threshold).all()):
            chosen.append(candidate)
    return len(chosen)


def containment(wrong: Tensor, bank_wrong: Tensor, similarity: Tensor) -> Tensor:
    """Return the share of the most similar member's errors that each model repeats: → f64 [M].

    `wrong` bool [M, N], `bank_wrong` bool [K, N], `similarity` f64 [M, K] (`without_self` for members).
    Containment sees through damage: a member that was only made worse keeps its own errors. A member
    without errors has all of them repeated: 1.
    """
    nearest = bank_wrong[similarity.argmax(dim=1)]
    errors = nearest.sum(dim=1).double()
    repeated = (wrong & nearest).sum(dim=1).double()
    return torch.where(errors == 0, 1.0, repeated / errors)
