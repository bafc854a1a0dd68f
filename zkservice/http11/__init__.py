"""HTTP/1.1 without a socket: a connection's bytes in, requests out; responses to bytes."""

from __future__ import annotations

from zkservice.http11.heads import HeadReader, Request
from zkservice.http11.hosts import is_port, split_host
from zkservice.http11.limits import Limit, Limits, limits_table
from zkservice.http11.requests import ParserState, RequestParser
from zkservice.http11.responses import (
    LAST_CHUNK,
    CheckedHead,
    Framing,
    Head,
    HeadWriter,
    chunk,
    error_page,
)
from zkservice.http11.storage import BodyStorage

__all__ = [
    "LAST_CHUNK",
    "BodyStorage",
    "CheckedHead",
    "Framing",
    "Head",
    "HeadReader",
    "HeadWriter",
    "Limit",
    "Limits",
    "ParserState",
    "Request",
    "RequestParser",
    "chunk",
    "error_page",
    "is_port",
    "limits_table",
    "split_host",
]
