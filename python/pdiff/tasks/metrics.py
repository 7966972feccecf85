"""Measure detection and segmentation on every sample by itself, so that samples can be drawn again."""

import torch
from torch import Tensor

from pdiff.tasks.base import Metric


def mean_iou(classes: int) -> Metric:
    """Return the mean over classes of intersection over union, of all samples' pixels together.

    Outputs are logits [B, classes, ...], targets i64 [B, ...]; pixels with another target do not count, nor
    classes that appear neither in targets nor in predictions.
    """

    def measure(outputs: Tensor, targets: Tensor) -> Tensor:
        predicted, targets = outputs.argmax(dim=1).flatten(1), targets.flatten(1)
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
        hits = measured[:, :-classes].reshape(-1, 3)
        total = measured[:, -classes:].double().sum(dim=0)
        values = [
            _area(hits[hits[:, 2] == number], total[number]) for number in range(classes) if total[number]
        ]
        return float(torch.stack(values).mean()) if values else 0.0

    return Metric("AP", True, True, measure, reduce)


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


def _area(hits: Tensor, total: Tensor) -> Tensor:
    """Return the area under precision over recall of detections [n, 3]; equal scores come in together."""
    scores, order = hits[:, 0].sort(descending=True)
    right = hits[order, 1].double().cumsum(dim=0)
    last = torch.cat([scores[1:] != scores[:-1], scores.new_ones(len(scores[:1]), dtype=torch.bool)])
    right, count = right[last], torch.arange(1, len(scores) + 1, device=scores.device)[last]
    precision = (right / count).flip(0).cummax(dim=0).values.flip(0)
    recall = torch.cat([right.new_zeros(1), right / total.to(right.device)])
    return (precision * recall.diff()).sum()
