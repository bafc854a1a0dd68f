"""Tests of the ids of requests: taken or given, and carried to everything that is logged."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.web.support import FrontEnd, StartResponse, hello, split
from zkservice.web import AccessLog, RequestContext, RequestFilter, current_request
from zkservice.web.request_context import parse_traceparent

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


class Lines:
    """Keeps the lines of a log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        """Keep a line."""
        self.lines.append(line)

    def reopen(self) -> None:
        """Not needed here."""


def request(*fields: str) -> bytes:
    """A request with some fields."""
    return "\r\n".join(["GET /a?b=1 HTTP/1.1", "Host: h", *fields, "", ""]).encode()


class RequestIdTests(SynchronousTestCase):
    """What the application, its log and the client see."""

    @override
    def setUp(self) -> None:
        self.seen: list[tuple[str, RequestContext | None]] = []

    def application(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        """Note the id and the context."""
        self.seen.append((environ.get("HTTP_X_REQUEST_ID", ""), current_request()))
        return hello(environ, start)

    def get(self, *fields: str, **arguments: Any) -> dict[str, str]:
        """The fields of a response."""
        end = FrontEnd(self.application, **arguments)
        return split(end.get(request(*fields)))[1]

    def test_an_id_is_given(self) -> None:
        """The application and the client have the same, and each request has another one."""
        first = self.get(request_ids=True)["x-request-id"]
        second = self.get(request_ids=True)["x-request-id"]
        self.assertNotEqual(first, second)
        self.assertEqual([each[0] for each in self.seen], [first, second])
        self.assertEqual(self.seen[0][1], RequestContext(first))
        self.assertIsNone(current_request())

    def test_an_id_is_taken(self) -> None:
        """A valid one stays, as a proxy in front has logged it."""
        fields = self.get("X-Request-ID: from-proxy/1", request_ids=True)
        self.assertEqual(fields["x-request-id"], "from-proxy/1")
        self.assertEqual(self.seen[0][0], "from-proxy/1")

    @given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=200))
    @example("a b")
    @example("x" * 129)
    @example('"\\')
    def test_what_is_sent_back_is_safe(self, said: str) -> None:
        """Whatever a client says, its response has an id that no log or header can be forged by."""
        said = said.strip().replace("\x7f", "")
        found = self.get(f"X-Request-ID: {said}", request_ids=True)["x-request-id"]
        self.assertTrue(re.fullmatch(r"[A-Za-z0-9._~+/=:@-]{1,128}", found), found)

    def test_without_the_option_there_is_none(self) -> None:
        """What a client says is neither checked nor sent back."""
        self.assertNotIn("x-request-id", self.get("X-Request-ID: mine"))
        self.assertEqual(self.seen, [("mine", None)])

    def test_the_application_can_name_its_own(self) -> None:
        """There are never two."""

        def named(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
            start("200 OK", [("X-Request-Id", "own"), ("Content-Length", "0")])
            return []

        response = FrontEnd(named, request_ids=True).get(request())
        self.assertEqual(response.lower().count(b"x-request-id"), 1)

    def test_logging(self) -> None:
        """A filter gives records the ids; outside of a request they are dashes."""
        file = io.StringIO()
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter("%(request_id)s %(trace_id)s %(message)s"))
        handler.addFilter(RequestFilter())
        logger = logging.Logger("application")
        logger.addHandler(handler)

        def application(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
            logger.info("hello")
            return hello(environ, start)

        traceparent = f"traceparent: 00-{TRACE}-{SPAN}-01"
        FrontEnd(application, request_ids=True).get(request("X-Request-ID: r-1", traceparent))
        logger.info("idle")
        self.assertEqual(file.getvalue(), f"r-1 {TRACE} hello\n- - idle\n")

    def test_failures_name_it(self) -> None:
        """The log line of an application that fails has the id."""

        def failing(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
            raise KeyError

        fields = split(FrontEnd(failing, request_ids=True).get(request("X-Request-ID: r-2")))[1]
        self.assertEqual(fields["x-request-id"], "r-2")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class TraceparentTests(SynchronousTestCase):
    """W3C Trace Context, section 3.2."""

    def test_valid(self) -> None:
        """Version 00, and one of later, which may have more fields."""
        for text in (f"00-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-00-what-is-to-come"):
            self.assertEqual(parse_traceparent(text), (TRACE, SPAN))

    def test_invalid(self) -> None:
        """Each breaks one rule."""
        for text in (
            "",
            f"ff-{TRACE}-{SPAN}-01",
            f"00-{'0' * 32}-{SPAN}-01",
            f"00-{TRACE}-{'0' * 16}-01",
            f"00-{TRACE.upper()}-{SPAN}-01",
            f"00-{TRACE}-{SPAN}-01-more",
            f"00-{TRACE}-{SPAN}-1",
            f"cc-{TRACE}-{SPAN}-01.more",
            f"cc-{TRACE}-{SPAN}-01-{'x' * 1000}",
            f"00-{TRACE}-{SPAN}-01\n",
        ):
            self.assertEqual(parse_traceparent(text), ("", ""), text)


class OpenTelemetryTests(SynchronousTestCase):
    """The access log with OpenTelemetry's names."""

    def logged(self, data: bytes, **arguments: Any) -> list[dict[str, Any]]:
        """What is in the log after a request."""
        lines = Lines()
        log = AccessLog(lines, "otel", lambda: datetime(2026, 11, 20, tzinfo=timezone.utc))
        FrontEnd(hello, access_log=log, **arguments).get(data)
        return [json.loads(line) for line in lines.lines]

    def test_names(self) -> None:
        """Those of the semantic conventions for HTTP; what is not known is not there."""
        [fields] = self.logged(
            request("User-Agent: u", "X-Request-ID: i", f"traceparent: 00-{TRACE}-{SPAN}-01")
        )
        self.assertEqual(fields.pop("server.address"), fields.pop("server.address", "192.0.2.1"))
        fields.pop("server.port", None)
        self.assertEqual(
            fields,
            {
                "timestamp": "2026-11-20T00:00:00+00:00",
                "trace_id": TRACE,
                "span_id": SPAN,
                "http.request.method": "GET",
                "url.path": "/a",
                "url.query": "b=1",
                "url.scheme": "http",
                "network.protocol.name": "http",
                "network.protocol.version": "1.1",
                "http.response.status_code": 200,
                "http.request.body.size": 0,
                "http.response.body.size": 8,
                "http.server.request.duration": 0.0,
                "client.address": "198.51.100.7",
                "user_agent.original": "u",
                "http.request.header.x-request-id": ["i"],
                "zkservice.wait.duration": 0.0,
                "zkservice.application.duration": 0.0,
                "zkservice.send.duration": 0.0,
                "zkservice.aborted": False,
            },
        )

    def test_a_client_that_was_refused(self) -> None:
        """There is no request to tell of."""
        [fields] = self.logged(b"GET / HTTP/3.0\r\n\r\n")
        self.assertEqual((fields["http.response.status_code"], fields["error.type"]), (505, "505"))
        self.assertNotIn("http.request.method", fields)
        self.assertNotIn("url.path", fields)
