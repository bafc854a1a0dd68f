"""Rows of zkserve's options: sizes, numbers and times that a client may take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from zkservice.errors import ConfigurationError
from zkservice.http11 import Limit, limits_table
from zkservice.service.options.option_table import Kind, Option, milliseconds, whole_number
from zkservice.service.options.sources import nearest

__all__ = ["ROWS", "SECTION"]

SECTION: Final = "Limits"

_SECONDS: Final = "seconds"


def _limit_kind(limit: Limit) -> Kind:
    return milliseconds() if limit.unit == _SECONDS else whole_number()


def _read_limit(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    known = {limit.option: limit for limit in limits_table()}
    limit = known.get(name.strip())
    if not equals:
        raise ConfigurationError(f"{text!r}: write NAME=VALUE; the names are {', '.join(known)}")
    if limit is None:
        hint = nearest(name.strip(), known) or f"; the names are {', '.join(known)}"
        raise ConfigurationError(f"unknown limit {name.strip()!r}{hint}")
    try:
        return limit.name, _limit_kind(limit).read(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"{limit.option} {error}") from None


def _limit_rows() -> Iterator[Option]:
    """A hidden option for each limit: a key of Paste files, and ``--NAME`` for ``--limit NAME``."""
    for limit in limits_table():
        yield Option(
            limit.option,
            SECTION,
            limit.help,
            _limit_kind(limit),
            limit.default,
            f"limits.{limit.name}",
            hidden=True,
        )


ROWS: Final = (
    Option(
        "limit",
        SECTION,
        "NAME=VALUE: one of the limits below; times are milliseconds, sizes bytes.",
        Kind(_read_limit, "NAME=VALUE"),
        repeatable=True,
        example="request-timeout=30000",
    ),
    *_limit_rows(),
)
