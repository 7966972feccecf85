"""Measure detection and segmentation on every sample by itself, so that samples can be drawn again."""

import torch
from torch import Tensor

from pdiff.tasks.base import Metric


def mean_iou(classes: int) -> Metric:
    """Return the mean over classes of intersection over union, of all samples' pixels together.

    Outputs are logits [B, classes, ...], targets integers [B, ...]; pixels with another target do not count,
    nor classes that appear neither in targets nor in predictions.
    """

    def measure(outputs: Tensor, targets: Tensor) -> Tensor:
        predicted, targets = outputs.argmax(dim=1).flatten(1), targets.long().flatten(1)
        counts = targets.new_zeros(len(targets), classes * classes)
        valid = (targets >= 0) & (targets < classes)
        pairs = torch.where(valid, targets * classes + predicted, 0)
        return counts.scatter_add_(1, pairs, valid.to(counts.dtype)).float()  # [B, classes²], confusion

    def reduce(measured: Tensor) -> float:
        confusion = measured.double().sum(dim=0).view(classes, classes)
        both = confusion.diagonal()
        either = confusion.sum(dim=0) + confusion.sum(dim=1) - both
        return float((both / either)[either > 0].mean()) if bool((either > 0).any()) else 0.0

    return Metric("mIoU", True, True, measure, reduce)


def average_precision(classes: int, *, iou: float = 0.5) -> Metric:
    """Return the mean over classes of the average precision of boxes, the area under precision over recall.

    Outputs are detections [B, Q, 6], each x1, y1, x2, y2, score, class; targets [B, G, 5], each x1, y1, x2,
    y2, class. A class of -1 is padding. In each image a detection, the highest score first, takes the
    free target of its class that it overlaps most, if by `iou` or more. Precision at a recall is the best at
    that recall or above; classes without a target do not count.
    """

    def measure(outputs: Tensor, targets: Tensor) -> Tensor:
        hits = torch.stack([_hits(*pair, iou) for pair in zip(outputs, targets, strict=True)])
        counts = [(targets[..., 4] == number).sum(dim=1) for number in range(classes)]
        return torch.cat([hits.flatten(1), torch.stack(counts, dim=1)], dim=1).float()  # [B, 3·Q + classes]

    def reduce(measured: Tensor) -> float:
        total = measured[:, -classes:].double().sum(dim=0)
        if not bool(total.any()):
            return 0.0
        areas = _areas(measured[:, :-classes].reshape(-1, 3), total)
        return float(areas[total > 0].mean())

    return Metric("AP", True, True, measure, reduce)


def missed(outputs: Tensor, targets: Tensor, *, iou: float = 0.5) -> Tensor:
    """Return which targets are missed: bool [B, G], of detections and targets as `average_precision` takes.

    A target is found if the detection with the highest score of those that overlap it by `iou` or more is of
    its class. Padding is never missed.
    """
    return torch.stack([_missed(*pair, iou) for pair in zip(outputs, targets, strict=True)])


def _missed(found: Tensor, wanted: Tensor, iou: float) -> Tensor:
    """Return which targets of an image are missed: [Q, 6], [G, 5] → bool [G]."""
    there = found[found[:, 5] >= 0]
    if not len(there):
        return wanted[:, 4] >= 0
    scores = torch.where(_overlaps(there[:, :4], wanted[:, :4]) >= iou, there[:, 4, None], -torch.inf)
    best, which = scores.max(dim=0)
    right = (there[which, 5] == wanted[:, 4]) & (best > -torch.inf)
    return ~right & (wanted[:, 4] >= 0)


def _hits(found: Tensor, wanted: Tensor, iou: float) -> Tensor:
    """Return score, whether it hits, and class of each detection of an image: [Q, 6], [G, 5] → [Q, 3]."""
    overlaps = _overlaps(found[:, :4], wanted[:, :4])
    overlaps[(found[:, 5, None] != wanted[None, :, 4]) | (wanted[None, :, 4] < 0)] = -1
    hits = torch.zeros(len(found), device=found.device)
    for index in found[:, 4].argsort(descending=True, stable=True).tolist():
        best, target = overlaps[index].max(dim=0)
        if best >= iou:
            hits[index] = 1
            overlaps[:, target] = -1
    return torch.stack([found[:, 4], hits, found[:, 5]], dim=1)


def _overlaps(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return the intersection over union of boxes: [Q, 4], [G, 4] → [Q, G]."""
    low = torch.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = torch.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    both = (high - low).clamp(min=0).prod(dim=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1) for boxes in (ours, theirs)]
    return both / (areas[0][:, None] + areas[1][None] - both).clamp(min=torch.finfo(ours.dtype).tiny)


def _areas(hits: Tensor, total: Tensor) -> Tensor:
    """Return the area under precision over recall of each class with `total` targets: f64 [classes].

    The detections [n, 3] of all classes are gone through together, the highest score first; equal scores come
    in together. Where a class has no detection its curve stays where it is.
    """
    there = hits[hits[:, 2] >= 0]
    scores, order = there[:, 0].sort(descending=True)
    last = torch.cat([scores[1:] != scores[:-1], scores.new_ones(len(scores[:1]), dtype=torch.bool)])
    its_own = there[order, 2] == torch.arange(len(total), device=hits.device)[:, None]  # [classes, n]
    right = (its_own * there[order, 1]).double().cumsum(dim=1)[:, last]
    count = its_own.double().cumsum(dim=1)[:, last]
    precision = (right / count.clamp(min=1)).flip(1).cummax(dim=1).values.flip(1)
    recall = torch.cat([right.new_zeros(len(total), 1), right / total[:, None].clamp(min=1)], dim=1)
    return (precision * recall.diff(dim=1)).sum(dim=1)
