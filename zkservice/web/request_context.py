"""The ids of the request that a thread is working on, for the application's log records.

A request's id is that of a valid ``X-Request-ID``, else a new one.  The request may be part of a
trace with the id in ``traceparent`` (W3C Trace Context).  Clients send both fields, so they are
checked before they are logged.
"""

from __future__ import annotations

import logging
import re
from contextvars import ContextVar
from typing import Final, NamedTuple

from typing_extensions import override

__all__ = ["RequestContext", "RequestFilter", "current_request", "parse_traceparent"]

#: Valid request ids; others are replaced.
REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}")
#: ``traceparent`` of version 00, and of later versions, which may have more fields.
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}"
)
_LATER_FIELDS: Final = re.compile(r"(-[!-~]{0,200})?")


class RequestContext(NamedTuple):
    """The ids of the request that this thread is working on; "" for a missing one.

    The ids of the trace and the client's span come from a valid ``traceparent``.
    """

    request_id: str
    trace_id: str = ""
    span_id: str = ""


#: Set in a worker thread while it runs a request.  Functions that copy the context, such as
#: ``asyncio.to_thread``, keep the value.
CURRENT: Final[ContextVar[RequestContext | None]] = ContextVar("zkservice_request", default=None)


def current_request() -> RequestContext | None:
    """The request that this thread is working on; None without a request, or if it has no id."""
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

    A missing id is "-".  Add the filter to a handler, and use both attributes in the format of the
    handler's formatter.
    """

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record, and return True: no record is filtered out."""
        request = CURRENT.get()
        record.request_id = "-" if request is None else request.request_id or "-"
        record.trace_id = "-" if request is None else request.trace_id or "-"
        return True
