"""Tests for zkservice.web.channel: answers that are no application's, to HEAD (RFC 9110 9.3.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.web.support import GET, Client, FrontEnd, StartResponse, hello, split
from zkservice.web import Limits

HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n"


class HeadTests(SynchronousTestCase):
    """The answer has the head of the page, and none of the page."""

    def assert_head_of_page(self, client: Client, data: bytes, status: bytes) -> None:
        """See that the last of some responses is a head, and what it says."""
        line, fields, body = split(data)
        while line.endswith(b" 200 OK"):
            line, fields, body = split(body[int(fields["content-length"]) :])
        self.assertEqual(line.split()[1], status)
        self.assertGreater(int(fields["content-length"]), 0)
        self.assertEqual((body, fields["connection"]), (b"", "close"))
        self.assertTrue(client.closed)

    def test_a_refused_head_has_no_body(self) -> None:
        """Wherever a HEAD breaks a rule, and whatever came before it."""
        for data, status in (
            (b"HEAD / HTTP/1.1\r\n\r\n", b"400"),
            (b"\r\nHEAD / HTTP/1.1\r\n X: y", b"400"),
            (b"HEAD /" + b"x" * 9000, b"414"),
            (HEAD + b"Content-Length: 99999999999\r\n\r\n", b"413"),
            (HEAD + b"Expect: x\r\n\r\n", b"417"),
            (HEAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", b"400"),
        ):
            for before in (b"", GET):
                with self.subTest((data[:60], before)):
                    client = FrontEnd(hello).connect()
                    self.assert_head_of_page(client, client.send(before + data), status)

    def test_a_late_head_has_no_body(self) -> None:
        """A head or a body that takes too long."""
        for data in (HEAD, HEAD + b"Content-Length: 5\r\n\r\na"):
            end = FrontEnd(hello, Limits(head_timeout=3, body_grace=3))
            client = end.connect()
            client.send(data)
            end.clock.pump([1.0] * 5)
            self.assert_head_of_page(client, client.received(), b"408")

    def test_an_overrun_head_has_no_body(self) -> None:
        """An application that takes too long, whatever is pipelined behind."""

        def application(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
            end.clock.pump([1.0] * 8)
            return hello(environ, start)

        end = FrontEnd(application, Limits(request_timeout=5))
        client = end.connect()
        self.assert_head_of_page(client, client.send(HEAD + b"\r\n" + GET), b"504")

    def test_behind_a_head(self) -> None:
        """What follows a HEAD is no HEAD for that."""
        client = FrontEnd(hello).connect()
        answer = client.send(HEAD + b"\r\nGET / HTTP/1.1\r\n\r\n")
        self.assertTrue(answer.endswith(b"needs a Host field\n"))
