"""Format untrusted names, counts and sizes for messages of one line."""

from collections.abc import Sequence

_LONGEST = 200
_ONE = {"are": "is", "do": "does", "them": "it"}
_UNITS = ("kB", "MB", "GB", "TB")


def printable(name: str) -> str:
    """Return `name` as text that can be printed in one line: what cannot be becomes `�`."""
    if name.isprintable():  # not so for lone surrogates, which stand for bytes that are no UTF-8
        return name
    return "".join(c if c.isprintable() else "\ufffd" for c in name)


def shown(name: str, longest: int = _LONGEST) -> str:
    """Return `name` printable and of at most `longest` characters; of a longer one, the two ends."""
    if len(name) <= longest:
        return printable(name)
    half = (longest - 1) // 2
    return printable(f"{name[:half]}…{name[-half:]}")


def some(names: Sequence[str], most: int = 3) -> str:
    """Return the first of several names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more


def counted(number: int, unit: str) -> str:
    """Return a number and its unit: `1 tensor`, `2,000 tensors`."""
    return f"{number:,} {unit}" if number == 1 else f"{number:,} {unit}s"


def agreeing(number: int, word: str) -> str:
    """Return a verb or pronoun as it is said of so many: one `differs` and `is`, two `differ` and `are`."""
    return word if number != 1 else _ONE.get(word, f"{word}s")


def size_text(size: int) -> str:
    """Return a number of bytes for people: `340 MB`, `4.5 GB`, powers of ten."""
    value, unit = float(size), "bytes"
    for larger in _UNITS:
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.2g} {unit}" if unit != "bytes" and value < 9.95 else f"{value:.0f} {unit}"


def seconds_text(seconds: float) -> str:
    """Return a duration for people: `0.012 s`, `1.9 s`, `5,700 s`."""
    if seconds < 0.001:
        return "under 0.001 s"
    if seconds < 0.95:
        return f"{seconds:.2g} s"
    return f"{seconds:.1f} s" if seconds < 99.95 else f"{seconds:,.0f} s"


def rate_text(seconds: float, unit: str) -> str:
    """Return how fast units come, of which each takes so long: `11.6 s a step`, `12.3 steps/s`."""
    return f"{seconds_text(seconds)} a {unit}" if seconds >= 1 else f"{1 / max(seconds, 1e-9):,.1f} {unit}s/s"
