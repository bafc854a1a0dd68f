"""The trace log: what each request is doing when a process hangs.

The records have the format of zc.zservertracelog, so that its ``tracereport`` reads them:

- B: a request was received; I: its body was received
- C: a worker begins; A: the application has returned its status and headers
- E: the application has no more to send
- ``-`` and other codes: records of the application
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from itertools import count
from typing import Final

from zkservice.http11 import Request
from zkservice.web.accesslog import LineWriter
from zkservice.web.environ import path_info

__all__ = ["ENVIRON_KEY", "Trace", "TraceLog"]

#: Where applications find the ``Trace`` of their request.
ENVIRON_KEY: Final = "zc.zservertracelog.interfaces.ITraceLog"


class TraceLog:
    """Writes the records of all requests, in the order of their times.

    Args:
        file: takes the lines.
        now: the local time.
    """

    def __init__(self, file: LineWriter, now: Callable[[], datetime] = datetime.now) -> None:
        self._file = file
        self._now = now
        self._lock = threading.Lock()  # guards the order of the lines
        self._ids = count(1)
        #: Whether requests that come now are recorded.
        self.enabled = True
        self.record("S", "0")

    def switch(self, on: bool) -> None:
        """Begin or stop recording new requests; requests that have begun are not affected."""
        if on and not self.enabled:
            self.record("S", "0")  # for tracereport: requests before this one are unknown
        self.enabled = on

    def begin(self, request: Request) -> Trace:
        """Record that a request was received with its body."""
        trace = Trace(self, str(next(self._ids)))
        query = f"?{request.query.decode('latin-1')}" if request.query else ""
        self.record("B", trace.id, f"{request.method} {path_info(request.path) or '*'}{query}")
        self.record("I", trace.id, str(0 if request.chunked else request.content_length))
        return trace

    def record(self, code: str, trace_id: str, message: str | None = None) -> None:
        """Write one record; line ends in the message are escaped (any thread)."""
        rest = "" if message is None else f" {repr(message)[1:-1]}"
        with self._lock:
            self._file.write(f"{code} {trace_id} {self._now()}{rest}")

    def reopen(self) -> None:
        """Open the file again, after log rotation has moved it away."""
        with self._lock:
            self._file.reopen()


class Trace:
    """The records of one request.  C, A and E come once each, and in this order."""

    def __init__(self, log: TraceLog, trace_id: str) -> None:
        self.id = trace_id
        self._log = log
        self._lock = threading.Lock()  # guards the next line
        self._missing = "CAE"  # the records that were not written yet, in their order

    def log(self, msg: str | None = None, code: str = "-") -> None:
        """Write a record of the application's own (``ITraceLog``)."""
        self._log.record(code, self.id, msg)

    def called(self) -> None:
        """Record that a worker begins."""
        self._write("C", None)

    def answered(self, status: int, length: int | None) -> None:
        """Record the application's status, and the length of its body if it is known."""
        self._write("A", f"{status} {'?' if length is None else length}")

    def failed(self, error: str) -> None:
        """Record that the application failed before it began a response, or was not called."""
        self._write("A", f"Error: {error}")

    def ended(self, error: str | None = None) -> None:
        """Record that the application has no more to send, or that there is no response."""
        self._write("E", None if error is None else f"Error: {error}", error)

    def _write(self, code: str, message: str | None, error: str | None = None) -> None:
        """Write a record, and before it those that should have come earlier; never one twice."""
        with self._lock:
            earlier_ones, found, rest = self._missing.partition(code)
            if not found:
                return
            self._missing = rest
        for earlier in earlier_ones:
            self._log.record(earlier, self.id, f"Error: {error}" if earlier == "A" else None)
        self._log.record(code, self.id, message)
