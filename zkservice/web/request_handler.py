"""Runs the application or a view for exchanges, and writes the logs and the counters."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from time import time
from typing import Any, Final

from twisted.logger import Logger, LoggingFile, LogLevel
from twisted.python.failure import Failure

from zkservice.http11 import HeadWriter, Limits, Request
from zkservice.web.accesslog import AccessRecord, AccessSink
from zkservice.web.environ import ConnectionInfo, fill_environ, server_environ
from zkservice.web.exchange import Exchange, ReactorExchange
from zkservice.web.proxies import TrustedProxies
from zkservice.web.request_context import (
    CURRENT,
    REQUEST_ID,
    RequestContext,
    parse_traceparent,
)
from zkservice.web.streams import Streams, StreamView
from zkservice.web.tally import BATCH, ResponseTally
from zkservice.web.tracelog import ENVIRON_KEY, TraceLog
from zkservice.web.views import SLOW_VIEW, DeferredView, GuardedView, View, ViewError
from zkservice.web.window import StreamWindow
from zkservice.web.worker import Worker
from zkservice.web.wsgi import Application, Response, run_application

__all__ = ["SOFTWARE", "RequestHandler"]

SOFTWARE: Final = "zkservice"
#: The logged status of a request whose client has left before the response.
CLIENT_GONE: Final = 499


class _ThreadObjects:
    """Objects that one thread reuses for one handler, so that threads share none."""

    def __init__(self) -> None:
        self.heads = HeadWriter(SOFTWARE, time)
        self.errors = LoggingFile(Logger("wsgi.errors"), LogLevel.error)


class _RequestIds:
    """Gives ids to requests."""

    def __init__(self) -> None:
        self._prefix = os.urandom(6).hex()
        self._numbers = count(1)

    def identify(self, request: Request) -> None:
        """Give the request an id unless it has a valid one."""
        given = request.fields.get("HTTP_X_REQUEST_ID")
        if given is None or not REQUEST_ID.fullmatch(given):
            request.fields["HTTP_X_REQUEST_ID"] = f"{self._prefix}-{next(self._numbers):x}"


class RequestHandler:
    """Runs the application, or a view, for an exchange, and writes the logs of it.

    Args:
        application: runs in worker threads.
        multithread: whether there are several worker threads.
        limits: the limits for clients.
        now: the workers' clock.
        proxies: the proxies whose fields about the client are trusted.
        access_log: receives a record of each response.
        trace_log: receives the records of each request to the application.
        tally: counts each response.
        request_ids: whether to give each request an id; an access log implies it.
    """

    _log = Logger()

    def __init__(
        self,
        application: Application,
        multithread: bool,
        limits: Limits,
        now: Callable[[], float],
        proxies: TrustedProxies,
        access_log: AccessSink | None = None,
        trace_log: TraceLog | None = None,
        tally: ResponseTally | None = None,
        request_ids: bool = False,
    ) -> None:
        #: Whether each connection is closed after its next response.
        self.draining = False
        self.streams = Streams()
        self.limits = limits
        #: Whether a log or the metrics need the times of requests.
        self.timed = access_log is not None or tally is not None
        self._ids = _RequestIds() if request_ids or access_log is not None else None
        self._access_log = access_log
        self._tally = tally
        self._keeps_alive = limits.keep_alive > 0
        self._application = application
        self._now = now
        self._proxies = proxies
        self._trace_log = trace_log
        self._environ = server_environ(SOFTWARE, multithread)
        self._reactor_objects = _ThreadObjects()

    # Reactor thread

    def admit(self, exchange: Exchange) -> None:
        """Prepare an exchange, before a worker or a view gets it."""
        exchange.received = self._now()
        if self._ids is not None:
            self._ids.identify(exchange.request)

    def trace(self, exchange: Exchange) -> None:
        """Start the trace of an exchange for the application."""
        if self._trace_log is not None and self._trace_log.enabled:
            exchange.trace = self._trace_log.begin(exchange.request)

    def run_view(self, exchange: Exchange, view: View, path: str) -> None:
        """Run a view for an exchange, in the reactor's thread."""
        began = self._now()
        if isinstance(view, GuardedView):
            try:
                view = view.choose(exchange.request, exchange.connection)
            except ViewError as refused:
                exchange.request.body.close()
                status = int(refused.status.partition(" ")[0])
                self.answer(exchange, status, refused.message, [*refused.headers])
                return
        environ = self._environ_for(exchange, self._reactor_objects)
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = path, ""
        environ["wsgi.multithread"] = False
        if isinstance(view, StreamView):
            self._open_stream(exchange, view)
            return
        if isinstance(view, DeferredView):
            deferred = view.ask(environ)
            deferred.addCallback(self._show, exchange, environ)
            deferred.addErrback(self._cannot_show, exchange, path)
            return
        self._show(view, exchange, environ)
        took = self._now() - began
        if took > SLOW_VIEW:
            self._log.warn(
                "the view {view} took {took:.3f} s, which blocked all other clients",
                view=getattr(view, "__name__", repr(view)),
                took=took,
            )

    def _open_stream(self, exchange: Exchange, view: StreamView) -> None:
        exchange.request.body.close()
        if self.streams.closed:
            self.answer(exchange, 503, "the process is stopping", [])
            return
        stream = self.streams.open(view, self._response_for(exchange, self._reactor_objects))
        exchange.window = StreamWindow(stream.lost)
        if exchange.request.method == "HEAD":
            stream.close()
        else:
            view.owner.opened(stream)

    def _show(self, view: View, exchange: Exchange, environ: dict[str, Any]) -> None:
        try:
            run_application(view, environ, self._response_for(exchange, self._reactor_objects))
        finally:
            exchange.request.body.close()

    def _cannot_show(self, failure: Failure, exchange: Exchange, path: str) -> None:
        exchange.request.body.close()
        self._log.warn(
            "the view {path} failed: {error}; answering 503", path=path, error=failure.value
        )
        exchange.answer(503, "other processes did not reply in time", [])

    def answer(
        self, exchange: Exchange, status: int, rule: str, headers: list[tuple[str, str]]
    ) -> None:
        """Respond to an exchange with an error page."""
        self._response_for(exchange, self._reactor_objects).answer(status, rule, headers)

    def log(self, exchange: Exchange, slow: bool) -> None:
        """Count a response that was sent or given up, and write its line.

        Args:
            exchange: the request with its response.
            slow: whether the response was not all sent when the worker finished it.
        """
        if not self.timed:
            return
        began, ended = exchange.began, exchange.ended
        if ended is None:
            ended = self._now()
        tally = self._tally
        if tally is None:
            pass
        elif began is None:
            self._count_unserved(exchange)
        else:
            noted, request = tally.noted, exchange.request
            noted.extend(
                (  # in the order of ResponseTally.noted
                    request.method,
                    exchange.status or CLIENT_GONE,
                    request.content_length or 0,
                    exchange.body_bytes,
                    exchange.received,
                    began,
                    ended,
                    "" if self._ids is None else request.fields["HTTP_X_REQUEST_ID"],
                )
            )
            if slow:
                tally.count_sending(self._now() - ended)
            if len(noted) >= BATCH:
                tally.add_noted()
        if self._access_log is not None:
            began = exchange.received if began is None else began
            self._access_log.write(self._record(exchange, began, ended))

    def _count_unserved(self, exchange: Exchange) -> None:
        """Count a response of a view, or to a request that no thread has taken."""
        assert self._tally is not None
        # For requests to the application, only the time in the queue is known.
        queued = not isinstance(exchange, ReactorExchange)
        self._tally.count(
            exchange.request.method,
            exchange.status or CLIENT_GONE,
            exchange.request.content_length or 0,
            exchange.body_bytes,
            self._now() - exchange.received if queued else None,
        )

    def failed(self, kind: str) -> None:
        """Count a failure of the application, by the name of the exception's type."""
        if self._tally is not None:
            self._tally.count_exception(kind)

    def _record(self, exchange: Exchange, began: float, ended: float) -> AccessRecord:
        request = exchange.request
        connection = exchange.connection
        trace_id, span_id = parse_traceparent(request.fields.get("HTTP_TRACEPARENT", ""))
        return AccessRecord(
            remote_addr=connection.remote_addr,
            request=f"{request.method} {request.target.decode('latin-1')} {request.protocol}",
            status=exchange.status or CLIENT_GONE,
            body_bytes=exchange.body_bytes,
            referer=request.fields.get("HTTP_REFERER", ""),
            user_agent=request.fields.get("HTTP_USER_AGENT", ""),
            request_id=request.fields.get("HTTP_X_REQUEST_ID", ""),
            waited=began - exchange.received,
            application=ended - began,
            sending=self._now() - ended,
            aborted=exchange.aborted,
            trace_id=trace_id,
            span_id=span_id,
            request_bytes=request.content_length or 0,
            scheme=connection.scheme,
            server=(connection.server_name, connection.server_port),
        )

    def log_refusal(self, info: ConnectionInfo, status: int) -> None:
        """Count a client that was refused before it had sent a request, and write its line."""
        if self._tally is not None:
            self._tally.count_refusal(status)
        if self._access_log is not None:
            self._access_log.write(
                AccessRecord(info.remote_addr, "", status, 0, "", "", "", 0, 0, 0)
            )

    # Worker threads

    def run(self, exchange: Exchange, worker: Worker) -> None:
        """Run the application for an exchange."""
        try:
            objects = worker.objects[self]
        except KeyError:
            objects = worker.objects[self] = _ThreadObjects()
        trace = exchange.trace
        environ = self._environ_for(exchange, objects)
        if trace is not None:
            environ[ENVIRON_KEY] = trace
            trace.called()
        response = self._response_for(exchange, objects)
        if self._ids is None:
            run_application(self._application, environ, response)
            return
        token = CURRENT.set(_context_of(exchange.request))
        try:
            run_application(self._application, environ, response)
        finally:
            CURRENT.reset(token)

    # Any thread

    def _environ_for(self, exchange: Exchange, objects: _ThreadObjects) -> dict[str, Any]:
        request = exchange.request
        exchange.connection = self._proxies.apply(request.fields, exchange.connection)
        environ = self._environ.copy()
        environ["wsgi.errors"] = objects.errors
        fill_environ(environ, request, exchange.connection, exchange.client_disconnected)
        return environ

    def _response_for(self, exchange: Exchange, objects: _ThreadObjects) -> Response:
        keep_alive = exchange.request.keep_alive and self._keeps_alive and not self.draining
        request = exchange.request
        request_id = "" if self._ids is None else request.fields["HTTP_X_REQUEST_ID"]
        return Response(exchange, request, objects.heads, keep_alive, request_id)


def _context_of(request: Request) -> RequestContext:
    fields = request.fields
    trace = fields.get("HTTP_TRACEPARENT")
    if trace is None:
        return RequestContext(fields["HTTP_X_REQUEST_ID"])
    return RequestContext(fields["HTTP_X_REQUEST_ID"], *parse_traceparent(trace))
