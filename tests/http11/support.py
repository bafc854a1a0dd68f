"""Feeding bytes to a parser the way networks do: at once, and one by one."""

from __future__ import annotations

from collections.abc import Iterable

from zkservice.errors import RequestRefusedError
from zkservice.http11 import HeadReader, Limits, Request, RequestParser

Seen = list["tuple[str, bytes, bytes] | int"]


def parser(limits: Limits | None = None) -> RequestParser:
    """A parser with the default limits, or others."""
    limits = limits or Limits()
    return RequestParser(limits, HeadReader(limits))


def outcome(pieces: Iterable[bytes], limits: Limits | None = None) -> Seen:
    """What a connection makes of the pieces: (method, target, body) or a refusal's status."""
    subject = parser(limits)
    seen: Seen = []
    for piece in pieces:
        subject.feed(piece)
        try:
            while (request := subject.next_request()) is not None:
                seen.append((request.method, request.target, request.body.read()))
                request.body.close()
        except RequestRefusedError as refused:
            seen.append(refused.status)
    subject.close()
    return seen


def both_ways(data: bytes, limits: Limits | None = None) -> Seen:
    """The outcome of ``data``, which must not depend on how it is cut."""
    whole = outcome([data], limits)
    bytewise = outcome([data[at : at + 1] for at in range(len(data))], limits)
    assert whole == bytewise, f"whole: {whole}, byte by byte: {bytewise}"
    return whole


def one(data: bytes, limits: Limits | None = None) -> Request:
    """The one request in ``data``."""
    subject = parser(limits)
    subject.feed(data)
    request = subject.next_request()
    assert request is not None, "no complete request"
    return request
