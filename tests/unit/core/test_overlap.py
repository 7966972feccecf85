"""Sets of wrong predictions in the core: drawn samples, and what is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pdiff._core import WrongSets


def nearest(sets: WrongSets, models: list[int], members: list[int], itself: list[int] | None = None) -> Any:
    out = np.empty(len(models))
    skipped = np.array(itself or [-1] * len(models))
    sets.nearest(np.array(models), np.array(members, dtype=np.int64), skipped, out)
    return out.tolist()


@given(st.data())
def test_drawn_sets_are_those_of_the_repeated_samples(data: st.DataObject) -> None:
    models, samples = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 200))
    wrong = data.draw(arrays(np.uint8, (models, samples), elements=st.integers(0, 1)))
    drawn = np.array(data.draw(st.lists(st.integers(0, samples - 1), max_size=300)), dtype=np.int64)
    found, expected = WrongSets(wrong).drawn(drawn), WrongSets(wrong[:, drawn].copy())
    every = list(range(models))
    assert nearest(found, every, every, every) == nearest(expected, every, every, every)
    sizes = np.empty(models, dtype=np.int64)
    found.sizes(sizes)
    assert sizes.tolist() == wrong[:, drawn].sum(axis=1).tolist()


def test_what_is_not_there_is_refused() -> None:
    sets = WrongSets(np.eye(3, 4, dtype=np.uint8))
    assert nearest(sets, [0, 1], [0, 2], [0, -1]) == [0, 0]
    assert nearest(sets, [0, 1], []) == [-np.inf, -np.inf]
    with pytest.raises(ValueError, match="model 3; accepted: from 0, below 3"):
        nearest(sets, [0], [3])
    with pytest.raises(ValueError, match="model -1; accepted"):
        nearest(sets, [-1], [0])
    with pytest.raises(ValueError, match="sample 4; accepted: from 0, below 4"):
        sets.drawn(np.array([0, 4]))
    with pytest.raises(ValueError, match=r"out has shape \[2\]; accepted: \[3\]"):
        sets.sizes(np.empty(2, dtype=np.int64))
    with pytest.raises(ValueError, match=r"wrong has shape \[3\]; accepted: two axes"):
        WrongSets(np.ones(3, dtype=np.uint8))
    two, ones = np.array([0, 1]), np.ones(2)
    for ends in ([1], [2, 1], [3]):
        with pytest.raises(ValueError, match="accepted"):
            sets.sums_after(two, ones, np.array(ends), np.empty((2, len(ends))))
    with pytest.raises(ValueError, match="lengths"):
        sets.sums_after(two, ones, np.array([2]), np.empty((2, 2)))
