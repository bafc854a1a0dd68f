"""Tests for zkservice.http11.responses: what an application may say, and how it is framed."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.errors import BadResponseError
from zkservice.http11 import Framing, Head, HeadWriter, chunk, error_page

NOON = 1_795_176_000.0


def lines(head: Head) -> list[bytes]:
    """A head's lines, without the two that end it."""
    assert head.data.endswith(b"\r\n\r\n")
    return head.data[:-4].split(b"\r\n")


class HeadWriterTests(SynchronousTestCase):
    """Checked and framed heads."""

    @override
    def setUp(self) -> None:
        self.now = NOON
        self.writer = HeadWriter("test", lambda: self.now)

    def head(
        self,
        status: str = "200 OK",
        headers: list[tuple[str, str]] | None = None,
        method: str = "GET",
        protocol: str = "HTTP/1.1",
        keep_alive: bool = True,
        body_length: int | None = None,
    ) -> Head:
        """A head for a response of the given kind."""
        checked = self.writer.check(status, headers or [])
        return self.writer.head(checked, method, protocol, keep_alive, body_length)

    def test_a_head_has_its_golden_bytes(self) -> None:
        """Status, server, date, the application's fields in its order, then ours."""
        head = self.head(headers=[("X-B", "1"), ("X-A", "é\t2"), ("X-B", "3")], body_length=5)
        self.assertEqual(
            head.data,
            b"HTTP/1.1 200 OK\r\nServer: test\r\nDate: Fri, 20 Nov 2026 12:00:00 GMT\r\n"
            b"X-B: 1\r\nX-A: \xe9\t2\r\nX-B: 3\r\nContent-Length: 5\r\n\r\n",
        )

    def test_date_moves_on(self) -> None:
        """The date is remembered for its second only."""
        dates = []
        for now in (NOON, NOON + 0.9, NOON + 1):
            self.now = now
            dates.append(parsedate_to_datetime(lines(self.head())[2][6:].decode()).second)
        self.assertEqual(dates, [0, 0, 1])

    def test_fields_of_the_application_take_precedence(self) -> None:
        """Server and Date of the application are kept, alone."""
        head = self.head(headers=[("Server", "mine"), ("date", "today")])
        self.assertEqual(lines(head)[1:3], [b"Server: mine", b"date: today"])
        self.assertEqual(head.data.lower().count(b"date:"), 1)

    def test_names_that_only_begin_like_ours(self) -> None:
        """``Server-Timing`` is no ``Server``."""
        head = self.head(headers=[("Server-Timing", "x")])
        self.assertIn(b"Server: test", lines(head))

    def test_the_framing_tells_the_bodys_end(self) -> None:
        """The body ends by its length, by its last chunk, or by closing."""
        declared = [("Content-Length", "7")]
        for arguments, framing, length, keep_alive in (
            ({"headers": declared}, Framing.LENGTH, 7, True),
            ({"body_length": 5}, Framing.LENGTH, 5, True),
            ({"headers": declared, "body_length": 5}, Framing.LENGTH, 7, True),
            ({}, Framing.CHUNKED, None, True),
            ({"protocol": "HTTP/1.0"}, Framing.CLOSE, None, False),
            ({"protocol": "HTTP/1.0", "body_length": 5}, Framing.LENGTH, 5, True),
            ({"method": "HEAD", "headers": declared}, Framing.NO_BODY, None, True),
            ({"status": "204 No Content"}, Framing.NO_BODY, None, True),
            ({"status": "205 Reset Content"}, Framing.NO_BODY, None, True),
            ({"status": "304 Not Modified", "headers": declared}, Framing.NO_BODY, None, True),
            ({"keep_alive": False}, Framing.CHUNKED, None, False),
        ):
            with self.subTest(arguments):
                head = self.head(**arguments)
                self.assertEqual(
                    (head.framing, head.length, head.keep_alive), (framing, length, keep_alive)
                )

    def test_connection_is_written_where_it_differs_from_the_default(self) -> None:
        """Said when it is not what the protocol assumes."""
        for arguments, line in (
            ({"keep_alive": False}, b"Connection: close"),
            ({"headers": [("Connection", "Close")]}, b"Connection: close"),
            ({"protocol": "HTTP/1.0", "body_length": 1}, b"Connection: keep-alive"),
            ({"protocol": "HTTP/1.0"}, b"Connection: close"),
        ):
            with self.subTest(arguments):
                self.assertIn(line, lines(self.head(**arguments)))
        self.assertNotIn(b"Connection", self.head().data)

    def test_length_of_what_is_not_sent(self) -> None:
        """HEAD and 304 tell the length of what GET would send, 205 that it is 0, 204 nothing."""
        declared = [("content-length", "7")]
        self.assertIn(b"content-length: 7", self.head(headers=declared, method="HEAD").data)
        self.assertIn(b"Content-Length: 5", self.head(method="HEAD", body_length=5).data)
        self.assertNotIn(b"Content-Length", self.head(method="HEAD", body_length=0).data)
        self.assertIn(b"content-length: 7", self.head("304 Not Modified", declared).data)
        self.assertNotIn(b"ength", self.head("204 No Content", declared).data)
        for method in ("GET", "HEAD"):
            reset = self.head("205 Reset Content", declared, method).data
            self.assertEqual(reset.lower().count(b"content-length"), 1)
            self.assertIn(b"\r\nContent-Length: 0\r\n", reset)

    def test_invalid_statuses_are_refused(self) -> None:
        """A status is three digits and a reason, on one line, and final."""
        for status in (
            *("200", "OK", "2000 OK", "99 Low", "100 Continue", "101 Switching Protocols"),
            *("200 O\r\nX: y", "200 O\nK", "200 O\rK", "200 O\0K", "200 O\x7fK", "200 €"),
            *(" 200 OK", "+20 OK", "\u0662\u0660\u0660 OK", "200\tOK", "HTTP/1.1 200 OK"),
        ):
            with self.subTest(status):
                self.assertRaises(BadResponseError, self.writer.check, status, [])

    def test_headers_that_split_the_response_are_refused(self) -> None:
        """Fields that would split the response, or belong to the connection, are refused."""
        for header in (
            ("X", "a\r\nSet-Cookie: b"),
            ("X", "a\nb"),
            ("X", "a\rb"),
            ("X", "a\0b"),
            ("X", "€"),
            ("X\r\nY", "a"),
            ("X Y", "a"),
            ("X:", "a"),
            ("", "a"),
            ("Xé", "a"),
            ("Transfer-Encoding", "chunked"),
            ("Keep-Alive", "timeout=5"),
            ("Upgrade", "websocket"),
            ("Connection", "keep-alive"),
            ("Content-Length", "-1"),
            ("Content-Length", "1, 1"),
            ("Content-Length", "²"),
            ("Content-Length", "\u0665"),
            ("Content-Length", "+5"),
            ("Content-Length", ""),
            ("X", "a\x7f"),
            ("X", "a\r\n b"),
            ("X ", "a"),
            ("Trailer", "X"),
            ("TE", "trailers"),
            ("Proxy-Connection", "close"),
            ("Connection", "close, X-Secret"),
        ):
            with self.subTest(header):
                self.assertRaises(BadResponseError, self.writer.check, "200 OK", [header])

    def test_values_of_other_types_are_refused(self) -> None:
        """Bytes, lists and numbers where strings and tuples belong are the application's bug."""
        bad: list[Any] = [(b"X", "a"), ("X", b"a"), ("X", 1), ["X", "a"], ("X",), "XY", None]
        for header in bad:
            with self.subTest(header):
                self.assertRaises(BadResponseError, self.writer.check, "200 OK", [header])
        self.assertRaises(BadResponseError, self.writer.check, b"200 OK", [])
        self.assertRaises(BadResponseError, self.writer.check, "200 OK", None)

    def test_two_lengths_are_refused(self) -> None:
        """Even the same length twice is one too many."""
        headers = [("Content-Length", "1"), ("content-length", "1")]
        self.assertRaises(BadResponseError, self.writer.check, "200 OK", headers)

    def test_text_that_formats_itself(self) -> None:
        """What is sent is what was checked, whatever a kind of string says of itself."""

        class Type(str, Enum):
            PLAIN = "text/plain"

        class Sly(str):
            def __format__(self, specification: str) -> str:
                return "a\r\nSet-Cookie: b"

            __str__ = __repr__ = lambda self: "a\r\nSet-Cookie: b"

        head = self.head(Sly("200 OK"), [("Content-Type", Type.PLAIN), (Sly("X"), Sly("y"))])
        self.assertEqual(lines(head)[0], b"HTTP/1.1 200 OK")
        self.assertEqual(lines(head)[3:5], [b"Content-Type: text/plain", b"X: y"])

    def test_length_in_another_spelling(self) -> None:
        """Blanks and zeros around a length do not reach the client."""
        head = self.head(headers=[("content-length", " 007\t")])
        self.assertIn(b"content-length: 7", lines(head))

    def test_remembering_is_bounded(self) -> None:
        """An application with ever new values does not grow the memory; all are right."""
        for number in range(2000):
            head = self.head(f"200 {number}", [("X", str(number))])
            self.assertIn(b"X: %d" % number, lines(head))
        self.assertLessEqual(len(self.writer._known), 512)

    @given(st.text(), st.text(), st.text())
    def test_any_header_adds_exactly_one_line(self, reason: str, name: str, value: str) -> None:
        """Whatever gets through adds exactly one line, whose parts are what was said."""
        try:
            checked = self.writer.check("200 " + reason, [(name, value)])
        except BadResponseError:
            return
        head = self.writer.head(checked, "GET", "HTTP/1.1", True, None)
        if name.lower() not in ("content-length", "connection", "date", "server"):
            self.assertEqual(len(lines(head)), 5)
            self.assertIn(f"{name}: {value}".encode("latin-1"), lines(head))


class PartsTests(SynchronousTestCase):
    """Chunks and error pages."""

    def test_a_chunk_has_its_golden_bytes(self) -> None:
        """Size in hexadecimal, data, line end."""
        self.assertEqual(b"".join(chunk(b"a" * 17)), b"11\r\n" + b"a" * 17 + b"\r\n")

    def test_an_error_page_says_what_was_wrong(self) -> None:
        """The page says what was wrong, and how long it is."""
        status, headers, body = error_page(431, "too much", [("X", "y")])
        self.assertEqual(status, "431 Request Header Fields Too Large")
        self.assertEqual(dict(headers)["Content-Length"], str(len(body)))
        self.assertIn(b"too much", body)
        self.assertIn(("X", "y"), headers)
