"""How figures are written, the same in the table, on the page and in the terminal."""

__all__ = ["duration", "number", "percent"]


def number(value: float | None, digits: int) -> str:
    """Format with a fixed number of digits; a dash for a figure that is not defined."""
    return "–" if value is None else f"{value:.{digits}f}"


def percent(fraction: float) -> str:
    """Format an accuracy: 0.9712 → `97.12%`."""
    return f"{100 * fraction:.2f}%"


def duration(seconds: float) -> str:
    """Format a time with its unit: `14 ms`, `3.2 s`, `5 min 7 s`, `2 h 3 min`."""
    if seconds < 0.9995:
        return f"{1000 * seconds:.2g} ms" if seconds < 0.01 else f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
