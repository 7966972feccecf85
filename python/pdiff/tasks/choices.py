"""One way to say that a name is not among the accepted ones."""

from collections.abc import Iterable
from difflib import get_close_matches

from pdiff.errors import UsageError

__all__ = ["unknown"]


def unknown(what: str, given: str, accepted: Iterable[str]) -> UsageError:
    """Return the error for a name that is not accepted, with the nearest accepted one if there is any."""
    names = list(accepted)
    near = get_close_matches(given, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(f"unknown {what} {given!r}; {hint}accepted: {', '.join(names) if names else 'none'}")
