"""Numbers and times as people read them."""

from __future__ import annotations

from datetime import datetime, timezone

__all__ = ["ago", "clock_time", "duration", "seconds", "size"]


def seconds(value: float | None) -> str:
    """A short time: ``12 ms``, ``1.5 s``."""
    if value is None:
        return "\N{EM DASH}"
    if value < 0.001:
        return "< 1 ms"
    if value < 1:
        return f"{value * 1000:.3g} ms" if value < 0.9995 else "1 s"
    return f"{value:.3g} s" if value < 100 else duration(value)


def duration(value: float) -> str:
    """A long time, in its two largest units: ``3 h 20 min``."""
    return " ".join(_units(value)[:2])


def _units(value: float) -> list[str]:
    left = round(value)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {unit}")
    return parts or ["0 s"]


def ago(then: float, now: float) -> str:
    """How long ago something was."""
    return f"{_units(max(0.0, now - then))[0]} ago"


def clock_time(then: float) -> str:
    """The time of the day, in UTC."""
    return f"{datetime.fromtimestamp(then, timezone.utc):%H:%M:%S}"


def size(value: float) -> str:
    """Bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"
