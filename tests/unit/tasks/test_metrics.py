"""Metrics beyond accuracy, against references of a few plain lines and torchmetrics."""

import math

import pytest
import torch
from torch import Tensor

from pdiff.tasks.metrics import average_precision, mean_iou, missed
from pdiff.tasks.regression import rmse


def test_rmse_is_the_root_of_the_mean_square() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(2, 40, 3, generator=generator)
    metric = rmse()
    found = metric.reduce(metric.measure(outputs, targets))
    assert found == pytest.approx(math.sqrt(float((outputs - targets).square().mean())), rel=1e-6)
    expected = torchmetrics.functional.mean_squared_error(outputs, targets, squared=False)
    assert found == pytest.approx(float(expected), rel=1e-6)
    assert not metric.higher_is_better


def slow_iou(predicted: Tensor, targets: Tensor, classes: int) -> float:
    values = []
    for number in range(classes):
        ours, theirs = (predicted == number) & (targets >= 0), targets == number
        if (ours | theirs).any():
            values.append(float((ours & theirs).sum() / (ours | theirs).sum()))
    return sum(values) / len(values)


def test_mean_iou_counts_all_pixels_together() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(10, 4, 5, 6, generator=generator)
    targets = torch.randint(3, (10, 5, 6), generator=generator)  # the fourth class is only predicted
    metric = mean_iou(4)
    found = metric.reduce(metric.measure(outputs, targets))
    assert found == pytest.approx(slow_iou(outputs.argmax(dim=1), targets, 4), rel=1e-6)
    expected = torchmetrics.functional.jaccard_index(outputs, targets, "multiclass", num_classes=4)
    assert found == pytest.approx(float(expected), rel=1e-6)
    targets[:, 0] = -1
    measured = metric.measure(outputs, targets)
    assert metric.reduce(measured) == pytest.approx(slow_iou(outputs.argmax(dim=1), targets, 4), rel=1e-6)
    again = torch.randint(10, (10,), generator=generator)
    expected_again = slow_iou(outputs.argmax(dim=1)[again], targets[again], 4)
    assert metric.reduce(measured[again]) == pytest.approx(expected_again, rel=1e-6)
    perfect = torch.nn.functional.one_hot(targets.clamp(min=0), 4).movedim(-1, 1).float()
    assert metric.reduce(metric.measure(perfect, targets)) == 1.0


def overlap(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / area


def slow_ap(outputs: Tensor, targets: Tensor, classes: int) -> float:
    """Match image by image, then sum precision over the steps of recall."""
    values = []
    for number in range(classes):
        hits, total = [], 0
        for found, wanted in zip(outputs.tolist(), targets.tolist(), strict=True):
            free = [box[:4] for box in wanted if box[4] == number]
            total += len(free)
            for box in sorted((b for b in found if b[5] == number), key=lambda b: -b[4]):
                best = max(free, key=lambda other: overlap(box[:4], other), default=None)
                hit = best is not None and overlap(box[:4], best) >= 0.5
                if hit:
                    free.remove(best)
                hits.append((box[4], hit))
        if not total:
            continue
        hits.sort(key=lambda each: -each[0])
        right, points = 0, []
        for count, (_, hit) in enumerate(hits, start=1):
            right += hit
            points.append((right / total, right / count))
        area, before = 0.0, 0.0
        for place, (recall, _) in enumerate(points):
            area += (recall - before) * max(precision for _, precision in points[place:])
            before = recall
        values.append(area)
    return sum(values) / len(values)


def boxes(generator: torch.Generator, *shape: int) -> Tensor:
    corner = 4 * torch.rand(*shape, 2, generator=generator)
    return torch.cat([corner, corner + 1 + 2 * torch.rand(*shape, 2, generator=generator)], dim=-1)


def scene(seed: int) -> tuple[Tensor, Tensor]:
    """Twelve images with up to five targets and eight detections near them, of three classes."""
    generator = torch.Generator().manual_seed(seed)
    wanted = boxes(generator, 12, 5)
    classes = torch.randint(-1, 2, (12, 5, 1), generator=generator).float()  # the third class has no target
    near = wanted + 0.3 * torch.randn(12, 5, 4, generator=generator)
    found = torch.cat([near, boxes(generator, 12, 3)], dim=1)
    labels = torch.cat([classes, torch.randint(-1, 3, (12, 3, 1), generator=generator).float()], dim=1)
    scores = torch.rand(12, 8, 1, generator=generator)
    return torch.cat([found, scores, labels], dim=2), torch.cat([wanted, classes], dim=2)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_the_area_under_the_curve(seed: int) -> None:
    outputs, targets = scene(seed)
    metric = average_precision(3)
    measured = metric.measure(outputs, targets)
    assert measured.shape == (12, 3 * 8 + 3)
    assert 0.05 < slow_ap(outputs, targets, 3) < 0.95
    assert metric.reduce(measured) == pytest.approx(slow_ap(outputs, targets, 3), rel=1e-6)
    again = torch.tensor([0, 3, 5, 11])
    assert metric.reduce(measured[again]) == pytest.approx(
        slow_ap(outputs[again], targets[again], 3), rel=1e-6
    )


def test_average_precision_by_hand() -> None:
    targets = torch.tensor([[[0.0, 0, 2, 2, 0], [4, 4, 6, 6, 0]]])
    hit, miss = [0.0, 0, 2, 2], [8.0, 8, 9, 9]
    metric = average_precision(1)

    def value(*detections: list[float]) -> float:
        return metric.reduce(metric.measure(torch.tensor([detections]), targets))

    assert value([*hit, 0.9, 0]) == 0.5
    assert value([*hit, 0.9, 0], [4, 4, 6, 6, 0.1, 0]) == 1.0
    assert value([*miss, 0.9, 0], [*hit, 0.5, 0]) == 0.25
    assert value([*hit, 0.9, 0], [*hit, 0.8, 0]) == 0.5, "the second takes no target"
    assert value([*hit, 0.9, -1]) == 0.0
    assert value([*hit, 0.5, 0], [*miss, 0.5, 0]) == value([*miss, 0.5, 0], [*hit, 0.5, 0]) == 0.25


def test_nothing_to_find_is_zero() -> None:
    none = torch.full((1, 2, 5), -1.0)
    metric = average_precision(2)
    assert metric.reduce(metric.measure(torch.zeros(1, 3, 6), none)) == 0.0
    assert mean_iou(2).reduce(mean_iou(2).measure(torch.randn(1, 2, 3), torch.full((1, 3), -1))) == 0.0


def test_a_target_is_found_by_the_best_detection_at_its_place() -> None:
    targets = torch.tensor([[[0.0, 0, 10, 10, 2], [20, 20, 30, 30, 5], [-1, -1, -1, -1, -1]]])
    right = [0.0, 0, 10, 9, 0.6, 2]
    other = [0.0, 0, 9, 10, 0.7, 3]
    nowhere = [20.0, 20, 24, 24, 0.9, 5]
    padding = [0.0, 0, 0, 0, 0, -1]
    for detections, expected in (
        ([padding, padding], [True, True, False]),
        ([right, padding], [False, True, False]),
        ([right, other], [True, True, False]),
        ([right, nowhere], [False, True, False]),
        ([right, [20.0, 20, 30, 30, 0.1, 5]], [False, False, False]),
    ):
        assert missed(torch.tensor([detections]), targets).tolist() == [expected]
    assert missed(torch.tensor([[right, other]]), targets, iou=0.95).tolist() == [[True, True, False]]


def test_mean_iou_takes_bytes_for_classes() -> None:
    metric = mean_iou(11)
    outputs = torch.randn(2, 11, 20, 20, generator=torch.Generator().manual_seed(0))
    targets = torch.randint(11, (2, 20, 20), generator=torch.Generator().manual_seed(1))
    assert torch.equal(metric.measure(outputs, targets.byte()), metric.measure(outputs, targets))
