"""Run a WSGI application for one exchange (PEP 3333): all of it in the worker's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, Protocol, Union

from twisted.logger import Logger

from zkservice.errors import BadResponseError, ClientGoneError, ResponseStorageError
from zkservice.http11 import (
    LAST_CHUNK,
    CheckedHead,
    Framing,
    Head,
    HeadWriter,
    Request,
    chunk,
    error_page,
)
from zkservice.web.exchange import End
from zkservice.web.files import FileWrapper
from zkservice.web.output import Part
from zkservice.web.tracelog import Trace

__all__ = ["Application", "Response", "ResponseSink", "run_application"]

ExcInfo = Union[
    "tuple[type[BaseException], BaseException, TracebackType]", "tuple[None, None, None]"
]
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

# Read for each block: before Python 3.12 a member of an enum costs ten times as much.
_CHUNKED: Final = Framing.CHUNKED
_NO_BODY: Final = Framing.NO_BODY

_log = Logger()


class ResponseSink(Protocol):
    """Receives the bytes of a response, and what the logs record about it."""

    status: int
    trace: Trace | None

    def send(self, parts: tuple[bytes, ...], body_bytes: int) -> None:
        """Send a part of the response; ``body_bytes`` of it are of the body."""
        ...

    def finish(self, parts: tuple[Part, ...], end: End, body_bytes: int) -> None:
        """Send the rest of the response."""
        ...

    def failed(self, kind: str) -> None:
        """Report the type of an exception that the application has raised."""
        ...


class Response:
    """The response of the application to one request: frames it and sends it."""

    __slots__ = (
        "_checked",
        "_head",
        "_keep_alive",
        "_request",
        "_request_id",
        "_sent",
        "_sink",
        "_writer",
        "over",
    )

    def __init__(
        self,
        sink: ResponseSink,
        request: Request,
        writer: HeadWriter,
        keep_alive: bool,
        request_id: str = "",
    ) -> None:
        self._sink = sink
        self._request = request
        self._writer = writer
        self._keep_alive = keep_alive
        self._request_id = request_id  # for the client; blank if requests have none
        self._checked: CheckedHead | None = None
        self._head: Head | None = None
        self._sent = 0  # bytes of the body
        #: Whether the response has ended: what the application still sends is dropped.
        self.over = False

    # What the application calls

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333's ``start_response``."""
        if exc_info is not None:
            try:
                if self._head is not None:
                    assert exc_info[1] is not None
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no cycle through the traceback
        elif self._checked is not None:
            raise BadResponseError("start_response was called twice, without exc_info")
        self._checked = self._writer.check(status, headers)
        return self.write

    def write(self, data: bytes) -> None:
        """Send a block of the body; an empty one is ignored."""
        if type(data) is not bytes:
            raise BadResponseError(f"a block of the body must be bytes, not {data!r:.80}")
        if not data or self.over:
            return
        if self._head is None:
            self._send(self._begin(None).data, data)
        else:
            self._send(b"", data)

    # What the server calls

    @property
    def begun(self) -> bool:
        """Whether the head was sent."""
        return self._head is not None

    def finish_with(self, body: bytes) -> None:
        """Send the whole body, and end the response."""
        if self.over:
            return
        head = self._begin(len(body))
        if head.framing is _NO_BODY:
            self._end((head.data,), 0)
        elif head.length == len(body):
            parts = (head.data + body,) if len(body) < 65536 else (head.data, body)
            self._end(parts, len(body))
        else:  # the application has announced another length
            self._send(head.data, body)
            self.finish()

    def finish_with_file(self, wrapper: FileWrapper) -> bool:
        """Send the rest of a file as the whole body, and end the response.

        Returns:
            False if nothing was sent, because the file has to be read block by block.
        """
        if self._head is not None or self._checked is None:
            return False
        segment = wrapper.segment(self._checked.length)
        if segment is None:
            return False
        if self._checked.length not in (None, len(segment)):
            # the file is shorter than announced; finish() reports that after it was read
            segment.close()
            return False
        head = self._begin(len(segment))
        if head.framing is _NO_BODY:
            segment.close()
            self._end((head.data,), 0)
        else:
            self._end((head.data, segment), len(segment))
        return True

    def finish(self) -> None:
        """End the body."""
        if self.over:
            return
        if self._head is None:
            self.finish_with(b"")
        elif self._head.framing is _CHUNKED:
            self._end((LAST_CHUNK,), 0)
        elif self._head.framing is Framing.LENGTH and self._head.length != self._sent:
            _log.warn(
                "the application promised {promised} bytes and sent {sent} for {method} {target}",
                promised=self._head.length,
                sent=self._sent,
                method=self._request.method,
                target=self._request.target,
            )
            self.abort(f"{self._sent} bytes instead of {self._head.length}")
        else:
            self._end((), 0)

    def fail(self, error: BaseException) -> None:
        """Respond to a failure: send an error page, or abort if the head was sent."""
        self._sink.failed(type(error).__name__)
        if self.over:
            return
        text = f"{type(error).__name__}: {error}"
        if self._head is not None:
            self.abort(text)
            return
        if self._sink.trace is not None:
            self._sink.trace.failed(text)
        self.answer(500, "The application failed; its log says why.", [])

    def answer(self, status: int, rule: str, headers: list[tuple[str, str]]) -> None:
        """Send an error page; only possible before the head was sent."""
        line, fields, body = error_page(status, rule, headers)
        self._checked = self._writer.check(line, fields)
        self.finish_with(body)

    def abort(self, reason: str) -> None:
        """Close the connection early, so that the client sees an incomplete response."""
        self.over = True
        self._sink.finish((), End.ABORT, 0)
        if self._sink.trace is not None:
            self._sink.trace.ended(reason)

    def _begin(self, body_length: int | None) -> Head:
        if self._checked is None:
            raise BadResponseError("the application did not call start_response before its body")
        request = self._request
        self._head = head = self._writer.head(
            self._checked, request.method, request.protocol, self._keep_alive, body_length
        )
        if self._request_id and not self._checked.has_request_id:
            head.data = f"X-Request-ID: {self._request_id}\r\n".encode().join(
                (head.data[:-2], head.data[-2:])
            )
        self._sink.status = self._checked.code
        if self._sink.trace is not None:
            self._sink.trace.answered(self._checked.code, self._checked.length)
        return head

    def _send(self, head_data: bytes, data: bytes) -> None:
        head = self._head
        assert head is not None
        if head.framing is _CHUNKED:
            self._sent += len(data)
            size, data, end = chunk(data)
            self._sink.send((head_data + size, data, end), len(data))
            return
        if head.framing is _NO_BODY:
            self._end((head_data,), 0)
            return
        if head.length is not None and self._sent + len(data) >= head.length:
            data = self._truncated(data, head.length)
            self._end((head_data, data), len(data))
            return
        self._sent += len(data)
        self._sink.send((head_data, data), len(data))

    def _truncated(self, data: bytes, length: int) -> bytes:
        """The part of ``data`` that fits into the announced length."""
        excess = self._sent + len(data) - length
        if excess:
            _log.warn(
                "the application sent more than the {promised} bytes it promised for "
                "{method} {target}; the rest is cut off",
                promised=length,
                method=self._request.method,
                target=self._request.target,
            )
            return data[: len(data) - excess]
        return data

    def _end(self, parts: tuple[Part, ...], body_bytes: int) -> None:
        """Send the last parts; ``body_bytes`` of them are of the body."""
        head, sink = self._head, self._sink
        assert head is not None
        self.over = True
        sink.finish(parts, End.KEEP_ALIVE if head.keep_alive else End.CLOSE, body_bytes)
        if sink.trace is not None:
            sink.trace.ended()


def run_application(application: Application, environ: dict[str, Any], response: Response) -> None:
    """Call the application and send what it returns; never raises."""
    try:
        result = application(environ, response.start)
        try:
            _send_result(result, response)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()
    except ClientGoneError as error:
        response.abort(str(error))
    except ResponseStorageError as error:
        _log.warn(
            "the response to {method} {uri} is cut off: {error}",
            method=environ.get("REQUEST_METHOD"),
            uri=environ.get("REQUEST_URI"),
            error=str(error),
        )
        response.abort(str(error))
    except BaseException as error:  # noqa: BLE001 - SystemExit, too, is the application's failure
        _log.failure(
            "the application failed for {method} {uri} (request {request_id})",
            method=environ.get("REQUEST_METHOD"),
            uri=environ.get("REQUEST_URI"),
            request_id=environ.get("HTTP_X_REQUEST_ID", "-"),
        )
        response.fail(error)


def _send_result(result: Iterable[bytes], response: Response) -> None:
    kind = type(result)
    if (kind is list or kind is tuple) and not response.begun:
        # all blocks are available: sending them one by one gains nothing
        body = result[0] if len(result) == 1 else b"".join(result)  # type: ignore[index, arg-type]
        if type(body) is not bytes:
            raise BadResponseError(f"a block of the body must be bytes, not {body!r:.80}")
        response.finish_with(body)
        return
    if kind is FileWrapper and response.finish_with_file(result):  # type: ignore[arg-type]
        return
    for block in result:
        response.write(block)
        if response.over:
            return
    response.finish()
