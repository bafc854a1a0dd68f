"""Which request a thread is working on, for what the application logs meanwhile.

A request has an id if ``X-Request-ID`` names a valid one, or is given one; and it may be part of a
trace, whose id ``traceparent`` names (W3C Trace Context).  Both come from a client, so they are
checked before any log shows them.
"""

from __future__ import annotations

import logging
import re
from contextvars import ContextVar
from typing import Final, NamedTuple

from typing_extensions import override

__all__ = ["RequestContext", "RequestFilter", "current_request", "parse_traceparent"]

#: What may be passed on as a request's id; anything else is replaced.
REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}")
#: Version 00, and later ones, which may have more fields.
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}"
)
_LATER_FIELDS: Final = re.compile(r"(-[!-~]{0,200})?")


class RequestContext(NamedTuple):
    """The ids of the request that this thread is working on; "" where there is none.

    The trace and the client's span are those of a valid ``traceparent``.
    """

    request_id: str
    trace_id: str = ""
    span_id: str = ""


#: In a thread of the application while it runs a request; what copies the context, as
#: ``asyncio.to_thread`` does, takes it along.
CURRENT: Final[ContextVar[RequestContext | None]] = ContextVar("zkservice_request", default=None)


def current_request() -> RequestContext | None:
    """The request that this thread is working on; None if it is not working on one with an id."""
    return CURRENT.get()


def parse_traceparent(text: str) -> tuple[str, str]:
    """The ids of a trace and of the client's span; blank if the text is not a valid header."""
    found = _TRACEPARENT.match(text)
    if found is None:
        return "", ""
    rest = text[found.end() :]
    if rest and (text.startswith("00") or not _LATER_FIELDS.fullmatch(rest)):
        return "", ""
    return found[1], found[2]


class RequestFilter(logging.Filter):
    """Gives each record of ``logging`` a ``request_id`` and a ``trace_id``.

    Both are "-" where there is none.  Add the filter to a handler, and name the two in the format
    of its formatter.
    """

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; it is always let through."""
        request = CURRENT.get()
        record.request_id = "-" if request is None else request.request_id or "-"
        record.trace_id = "-" if request is None else request.trace_id or "-"
        return True
