"""Axes are joined, fixed and cut as their parts allow."""

import pytest

from pdiff.alignment.axes import Axis, Part, blocks, fix, fixed, free, join, leaves, size, viewed
from pdiff.common.errors import InputError


def seen(axis: Axis) -> list[tuple[int, bool]]:
    return [(part.size, part.fixed) for part in leaves(axis)]


def test_what_is_fixed_later_is_fixed_in_all_that_was_joined() -> None:
    one, two, three = (free([6])[0] for _ in range(3))
    join(one, two)
    join(two, three)
    assert leaves(one) == leaves(two) == leaves(three)
    fix([three])
    assert seen(one) == [(6, True)]


def test_a_coarse_axis_is_split_like_a_finer_one() -> None:
    channels, height, flat = Part(4), Part(3, fixed=True), free([12])[0]
    join(flat, [channels, height])
    assert seen(flat) == [(4, False), (3, True)]
    assert leaves(flat)[0] is channels.root


def test_axes_that_do_not_nest_are_fixed() -> None:
    one, other = [Part(4), Part(6)], [Part(6), Part(4)]
    join(one, other)
    assert all(part.fixed for part in leaves([*one, *other]))


def test_axes_of_other_lengths_cannot_be_joined() -> None:
    with pytest.raises(InputError, match="axes of 4 and 6 units cannot be joined"):
        join([Part(4)], [Part(6)])


def test_blocks_keep_their_places_and_share_one_order() -> None:
    axis = free([12])[0]
    block = blocks(axis, 4)
    assert seen(axis) == [(3, True), (4, False)]
    assert leaves(axis)[1] is leaves(block)[0]


def test_views_take_axes_together_and_apart() -> None:
    batch, channels, height = [Part(2, fixed=True)], [Part(6)], [Part(5, fixed=True)]
    (first, flat) = viewed([batch, channels, height], (2, 30))
    assert (seen(first), seen(flat)) == ([(2, True)], [(6, False), (5, True)])
    _, heads, width, again = viewed([first, flat], (2, 3, 2, 5))
    assert [seen(axis) for axis in (heads, width, again)] == [[(3, False)], [(2, False)], [(5, True)]]
    assert seen(channels) == [(3, False), (2, False)]
    assert [size(axis) for axis in viewed([heads, []], (1, 3, 1))] == [1, 3, 1]


def test_a_view_that_cuts_through_units_fixes_everything() -> None:
    rows, columns = free([4, 6])
    out = viewed([rows, columns], (6, 4))
    assert [seen(axis) for axis in out] == [seen(axis) for axis in fixed([6, 4])]
    assert all(part.fixed for part in leaves([*rows, *columns]))
