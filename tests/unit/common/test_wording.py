"""Names that hold anything, in one short line."""

import pytest

from pdiff.common.wording import agreeing, counted, printable, shown, size_text, some


def test_what_cannot_be_printed_is_replaced() -> None:
    assert printable("a b é") == "a b é"
    assert printable("a\n\x1b[2J\ud800\u202e") == "a��[2J��"


def test_long_names_keep_their_ends() -> None:
    assert shown("x" * 200) == "x" * 200
    name = shown("begin" + "x" * 10**6 + "end")
    assert len(name) <= 200
    assert name.startswith("begin")
    assert name.endswith("end")


def test_of_many_names_the_first_are_shown() -> None:
    assert some(["a"]) == "a"
    assert some(["a", "b", "c"]) == "a, b, c"
    assert some([f"n{i}" for i in range(2000)]) == "n0, n1, n2 and 1,997 more"


def test_one_is_told_from_several() -> None:
    assert [counted(n, "tensor") for n in (0, 1, 2000)] == ["0 tensors", "1 tensor", "2,000 tensors"]
    assert [agreeing(number, "differ") for number in (0, 1, 2)] == ["differ", "differs", "differ"]
    assert [agreeing(1, word) for word in ("are", "them")] == ["is", "it"]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (340_000_000, "340 MB"),
        (4_500_000_000, "4.5 GB"),
        (9_960_000, "10 MB"),
        (999_700, "1 MB"),
        (12 * 10**15, "12000 TB"),
    ],
)
def test_sizes_are_for_people(size: int, text: str) -> None:
    assert size_text(size) == text
