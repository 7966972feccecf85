"""Names from files, which hold anything, as they may stand in a message of one line."""

from collections.abc import Sequence

__all__ = ["printable", "shown", "some"]

_LONGEST = 200


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
