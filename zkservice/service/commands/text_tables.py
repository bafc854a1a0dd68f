"""Plain values as text for a terminal: columns, times, sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from zkservice.web import printable

__all__ = ["bytes_text", "columns", "lines_of", "seconds_text"]


def columns(rows: Sequence[Sequence[object]]) -> str:
    """Rows as aligned columns; the last column is not padded."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def lines_of(values: Iterable[tuple[str, object]]) -> str:
    """Names and values, one pair on each line."""
    return columns([(f"{name}:", value) for name, value in values])


def seconds_text(seconds: float | None) -> str:
    """A time in its largest units: 0.4 ms, 3.2 s, 2 min 5 s, 3 d 4 h."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def bytes_text(size: float) -> str:
    """A size with a unit."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def flattened(values: Any, prefix: str = "") -> list[tuple[str, object]]:
    """Nested mappings as dotted names with their values."""
    if not isinstance(values, dict):
        return [(prefix, values)]
    found: list[tuple[str, object]] = []
    for name, value in values.items():
        found += flattened(value, f"{prefix}.{name}" if prefix else str(name))
    return found
