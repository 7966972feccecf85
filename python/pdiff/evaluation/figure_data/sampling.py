"""Bound the size of what figures show."""


def spread_over(size: int, most: int) -> list[int]:
    """Return at most `most` different indices, evenly spread over `size`, both ends among them."""
    if size <= most:
        return list(range(size))
    return [index * (size - 1) // (most - 1) for index in range(most)]


def rounded(value: float) -> float:
    """Round to four significant digits, more than a figure can show."""
    return float(f"{value:.3e}")
