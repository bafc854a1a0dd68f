"""Rows of zkserve's options: the time that each step of a stop may take."""

from __future__ import annotations

from typing import Final

from zkservice.service.options.option_table import Option, milliseconds

__all__ = ["ROWS", "SECTION"]

SECTION: Final = "Stopping"

ROWS: Final = (
    Option(
        "drain-wait",
        SECTION,
        "Milliseconds to serve on after deregistering, so that no client is refused.",
        milliseconds(),
        0.5,
        target="drain_wait",
    ),
    Option(
        "drain-timeout",
        SECTION,
        "Milliseconds for running requests to finish.",
        milliseconds(),
        30.0,
        target="drain_timeout",
    ),
    Option(
        "upgrade-timeout",
        SECTION,
        "Milliseconds for the new program that SIGUSR2 starts to become ready.",
        milliseconds(1),
        60.0,
        target="upgrade_timeout",
    ),
)
