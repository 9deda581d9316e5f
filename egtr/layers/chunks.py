"""Some rows at a time."""

from collections.abc import Iterator


def chunks(count: int, size: int) -> Iterator[slice]:
    """Slices of ``size`` that cover 0..``count``; the last one may be shorter, and there is none of nothing."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
