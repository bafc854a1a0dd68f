"""The front end's limits as a user writes them: times in milliseconds, all else as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zkservice.web import Limits, limits_table

_SECONDS = "seconds"


def limit_parameters() -> list[list[Any]]:
    """A row of ``optParameters`` for each limit."""
    return [
        [
            limit.option,
            None,
            _written(limit.default, limit.unit),
            f"{'milliseconds' if limit.unit == _SECONDS else limit.unit}: {limit.help}",
            int,
        ]
        for limit in limits_table()
    ]


def limit_names() -> frozenset[str]:
    """The limits' names as a Paste file spells them."""
    return frozenset(limit.name for limit in limits_table())


def limits_from(values: Mapping[str, int]) -> Limits:
    """The limits that were written, by option name; what is missing has its default.

    Raises:
        ValueError: one is negative.
    """
    found: dict[str, Any] = {}
    for limit in limits_table():
        if limit.option in values:
            value = values[limit.option]
            found[limit.name] = value / 1000 if limit.unit == _SECONDS else value
    return Limits(**found)


def _written(default: float, unit: str) -> int:
    return round(default * 1000) if unit == _SECONDS else round(default)
