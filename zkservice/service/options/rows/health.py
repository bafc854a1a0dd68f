"""Rows of zkserve's options: the checks on which the registration depends."""

from __future__ import annotations

import re
from typing import Final

from zkservice.errors import ConfigurationError
from zkservice.service.options.option_table import FLAG, Option, checked, milliseconds, whole_number
from zkservice.service.views.readiness import READY

__all__ = ["ROWS", "SECTION"]

SECTION: Final = "Health"


def _check_health_path(text: str) -> None:
    if not re.fullmatch(r"/[!-~]*", text):
        raise ConfigurationError(f"must be an HTTP path that begins with a slash, not {text!r}")
    if text.partition("?")[0] == READY:
        raise ConfigurationError(f"{READY} depends on the health check: name another path")


_HEALTH_PATH: Final = checked(_check_health_path, "PATH")

ROWS: Final = (
    Option(
        "health",
        SECTION,
        "Register only while this HTTP path of the application returns 2xx or 3xx.",
        _HEALTH_PATH,
        target="health.path",
        example="/healthy",
    ),
    Option("health-tcp", SECTION, "Register only while a TCP connection succeeds.", FLAG, False),
    Option(
        "health-interval",
        SECTION,
        "Milliseconds between two health checks.",
        milliseconds(1),
        2.0,
        target="health.interval",
    ),
    Option(
        "health-timeout",
        SECTION,
        "Milliseconds that a health check may take.",
        milliseconds(1),
        1.0,
        target="health.timeout",
    ),
    Option(
        "health-rise",
        SECTION,
        "Successful checks in a row that register the address again.",
        whole_number(1),
        2,
        target="health.rise",
    ),
    Option(
        "health-fall",
        SECTION,
        "Failed checks in a row that deregister the address.",
        whole_number(1),
        3,
        target="health.fall",
    ),
)
