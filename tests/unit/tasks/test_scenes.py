"""Scenes against a slow reference, of made-up garments that can be told apart by their pixels."""

import numpy as np
import pytest

from pdiff.common.rng import numpy_generator
from pdiff.tasks import scenes
from pdiff.tasks.scenes import APART, DARKEST, MOST, SCENE, SceneData, compose, corners
from tests.unit.tasks.test_fashion import write_pair


@pytest.fixture(scope="module")
def garments():
    """Forty garments: blots of one shade each, 100 and up, on dark noise; garment i is of class i % 10."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, DARKEST, (40, 28, 28)).astype(np.uint8)
    for index, image in enumerate(images):
        image[generator.random((28, 28)) < 0.1] = 100 + index
    return images, np.arange(40) % 10


def composed(garments, index):
    return compose(garments, numpy_generator(0, "test", index))


def test_boxes_and_classes_are_those_of_the_pixels_that_can_be_seen(garments):
    counts = []
    for index in range(50):
        picture, classes, boxes = composed(garments, index)
        assert not picture[classes == 0].any()
        expected = []
        for shade in np.unique(picture[picture > 0]):
            rows, columns = np.nonzero(picture == shade)
            label = (int(shade) - 100) % 10
            assert (classes[rows, columns] == label + 1).all()
            expected.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, label))
        found = [tuple(box) for box in boxes if box[4] >= 0]
        assert sorted(found) == sorted(expected)
        assert (boxes[len(found) :] == -1).all()
        counts.append(len(found))
    assert set(counts) == {1, 2, 3}


def test_a_garment_that_is_covered_has_no_box():
    images = np.zeros((3, 28, 28), np.uint8)
    images[0, :, :] = 200
    images[1, 27, 27] = images[2, 27, 27] = 100
    found = [compose((images, np.arange(3)), numpy_generator(0, "test", index)) for index in range(200)]
    seen = [(int((boxes[:, 4] >= 0).sum()), len(np.unique(classes)) - 1) for _, classes, boxes in found]
    assert all(boxes == classes for boxes, classes in seen)


def test_garments_lie_inside_and_apart():
    for index in range(100):
        found = corners(numpy_generator(1, "test", index), MOST)
        assert all(0 <= place <= SCENE - 28 for corner in found for place in corner)
        for first in range(MOST):
            for second in range(first):
                (y, x), (top, left) = found[first], found[second]
                assert max(abs(y - top), abs(x - left)) >= APART


def test_a_scene_does_not_depend_on_how_many_there_are(tmp_path, monkeypatch):
    write_pair(tmp_path, "t10k", 10_000)
    monkeypatch.setattr(scenes, "SIZES", {"test": 4})
    few = SceneData(tmp_path)("test")
    monkeypatch.setattr(scenes, "SIZES", {"test": 7})
    data = SceneData(tmp_path)
    many = data("test")
    assert data("test") is many
    assert [tuple(part.shape) for part in many] == [(7, 1, 64, 64), (7, 64, 64), (7, 3, 5)]
    assert all((one == other[:4]).all() for one, other in zip(few, many, strict=True))
    assert many.pictures.min() == -1
