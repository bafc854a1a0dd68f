"""Rows of zkserve's options: the proxies in front, and the header fields that they set."""

from __future__ import annotations

from typing import Final

from zkservice.service.options.option_table import Kind, Option, whole_number
from zkservice.service.options.rows.kinds import NETWORK

__all__ = ["ROWS", "SECTION"]

SECTION: Final = "Behind a proxy"

ROWS: Final = (
    Option(
        "trusted-proxy",
        SECTION,
        "Address or network of proxies whose X-Forwarded-* headers are trusted.",
        NETWORK,
        repeatable=True,
        manual=(
            "address or network of proxies whose ``X-Forwarded-*`` headers are "
            "trusted: ``10.0.0.0/8``"
        ),
        example="10.0.0.0/8",
    ),
    Option(
        "proxy-hops",
        SECTION,
        "How many trusted proxies a request comes through.",
        whole_number(1),
        1,
    ),
    Option(
        "proxy-header",
        SECTION,
        "A field that the proxies set, instead of X-Forwarded-For and X-Forwarded-Proto.",
        Kind(str.lower, "NAME"),
        repeatable=True,
        manual=(
            "a field that the proxies set, instead of ``X-Forwarded-For`` and ``X-Forwarded-Proto``"
        ),
        example="X-Real-IP",
    ),
)
