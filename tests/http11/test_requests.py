"""Tests for zkservice.http11.requests and heads: what is a request, and what is refused."""

from __future__ import annotations

from dataclasses import fields
from typing import ClassVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.http11.support import both_ways, one, outcome, parser
from zkservice.errors import RequestRefusedError
from zkservice.http11 import HeadReader, Limits, ParserState, RequestParser, limits_table
from zkservice.http11.lines import METHODS, RequestLines

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n"
)


def head(line: bytes = b"GET / HTTP/1.1", *fields: bytes, host: bytes = b"Host: a") -> bytes:
    """A head of a request line and fields."""
    return b"\r\n".join([line, *([host] if host else []), *fields, b"", b""])


class AcceptedTests(SynchronousTestCase):
    """Requests that must get through."""

    def test_one_of_each_framing(self) -> None:
        """No body, a length and chunks follow each other on one connection."""
        self.assertEqual(
            both_ways(GET + POST + CHUNKED + GET),
            [
                ("GET", b"/", b""),
                ("POST", b"/p", b"abc"),
                ("POST", b"/c", b"abcde"),
                ("GET", b"/", b""),
            ],
        )

    def test_refused_upgrade_keeps_body_and_framing(self) -> None:
        """With an offered upgrade the body is neither lost nor read as a request."""
        for framing, body in (
            (b"Content-Length: 18", b"GET /x HTTP/1.1\r\n\n"),
            (b"Transfer-Encoding: chunked", b"2\r\nab\r\n0\r\n\r\n"),
        ):
            upgrade = head(b"POST /u HTTP/1.1", b"Connection: Upgrade", b"Upgrade: h2c", framing)
            seen = both_ways(upgrade + body + GET)
            self.assertEqual([each[1] for each in seen if isinstance(each, tuple)], [b"/u", b"/"])
            self.assertIn(seen[0][2], (b"GET /x HTTP/1.1\r\n\n", b"ab"))  # type: ignore[index]

    def test_one_empty_line_before_a_request(self) -> None:
        """RFC 9112 2.2: clients that end a body with CR LF are forgiven."""
        self.assertEqual(both_ways(POST + b"\r\n" + GET)[1], ("GET", b"/", b""))

    def test_http_1_0(self) -> None:
        """HTTP/1.0 needs no Host, and closes unless it asks to stay."""
        closing = one(b"GET / HTTP/1.0\r\n\r\n")
        staying = one(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
        self.assertEqual((closing.keep_alive, staying.keep_alive), (False, True))
        self.assertEqual(closing.protocol, "HTTP/1.0")

    def test_close_counts_anywhere_in_the_list(self) -> None:
        """``close`` counts wherever it stands in the list, in any case."""
        for value, keep_alive in (
            (b"close", False),
            (b"keep-alive", True),
            (b"TE,\tCLOSE", False),
            (b"x-closed", True),
        ):
            request = one(head(b"GET / HTTP/1.1", b"Connection: " + value))
            self.assertEqual(request.keep_alive, keep_alive, value)

    def test_targets_are_split_but_not_decoded(self) -> None:
        """Path and query are split, not decoded; slashes are kept; a URL's host counts."""
        for target, path, query, host in (
            (b"/a%2Fb?x=1?y", b"/a%2Fb", b"x=1?y", "a"),
            (b"//evil/p", b"//evil/p", b"", "a"),
            (b"http://b:80/p?q", b"/p", b"q", "b:80"),
            (b"https://b", b"/", b"", "b"),
            (b"http://b?q", b"/", b"q", "b"),
        ):
            request = one(head(b"GET %s HTTP/1.1" % target))
            self.assertEqual(
                (request.path, request.query, request.fields["HTTP_HOST"]), (path, query, host)
            )

    def test_options_for_the_server(self) -> None:
        """``OPTIONS *`` has no path."""
        self.assertEqual(one(head(b"OPTIONS * HTTP/1.1")).path, b"")

    def test_fields_become_environ_keys(self) -> None:
        """Repeated fields are joined, cookies by semicolons; latin-1 bytes are kept."""
        request = one(
            head(
                b"POST / HTTP/1.1",
                b"Content-Type: text/plain",
                b"Content-Length: 0",
                b"Accept: a",
                b"ACCEPT: b",
                b"Cookie: c=1",
                b"Cookie: d=2",
                b"X-Name: caf\xe9",
            )
        )
        self.assertEqual(
            request.fields,
            {
                "HTTP_HOST": "a",
                "CONTENT_TYPE": "text/plain",
                "CONTENT_LENGTH": "0",
                "HTTP_ACCEPT": "a, b",
                "HTTP_COOKIE": "c=1; d=2",
                "HTTP_X_NAME": "café",
            },
        )

    def test_blanks_around_values(self) -> None:
        """Spaces and tabs around a value are no part of it; other bytes are."""
        request = one(
            b"POST / HTTP/1.1\r\nHost: \t a \t \r\nX:  \r\nY: a  b \xa0\x85 \r\n"
            b"Content-Length: 0  \r\nConnection:  close\t\r\n\r\n"
        )
        self.assertEqual(
            request.fields,
            {
                "HTTP_HOST": "a",
                "HTTP_X": "",
                "HTTP_Y": "a  b \xa0\x85",
                "CONTENT_LENGTH": "0",
                "HTTP_CONNECTION": "close",
            },
        )
        self.assertFalse(request.keep_alive)

    def test_fields_that_would_be_mistaken_are_dropped(self) -> None:
        """``X_Forwarded_For`` is not ``X-Forwarded-For``; ``Proxy`` must not set HTTP_PROXY."""
        request = one(
            head(b"GET / HTTP/1.1", b"X_Forwarded_For: 6", b"Content_Length: 3", b"Proxy: evil")
        )
        self.assertEqual(request.fields, {"HTTP_HOST": "a"})

    def test_trailers_are_not_fields(self) -> None:
        """What comes after the body cannot claim to come from a proxy."""
        data = CHUNKED.replace(b"X-Sum: 5", b"X-Forwarded-For: 6.6.6.6")
        self.assertNotIn("HTTP_X_FORWARDED_FOR", one(data).fields)

    def test_length_of_a_chunked_body(self) -> None:
        """Once it is complete, a chunked body has a length like any other."""
        self.assertEqual(one(CHUNKED).content_length, 5)

    def test_leading_zeros_of_a_length(self) -> None:
        """However many zeros a length begins with, it is the same number."""
        data = head(b"POST / HTTP/1.1", b"Content-Length: " + b"0" * 5000 + b"3") + b"abc"
        self.assertEqual(one(data).body.read(), b"abc")

    def test_memory_of_hosts_is_bounded(self) -> None:
        """Ever new hosts are read as ever, and do not grow the memory."""
        limits = Limits()
        reader = HeadReader(limits)
        subject = RequestParser(limits, reader)
        for number in range(3000):
            subject.feed(head(b"GET / HTTP/1.1", host=b"Host: h%d" % number))
            request = subject.next_request()
            assert request is not None
            self.assertEqual(request.fields["HTTP_HOST"], f"h{number}")
        self.assertLessEqual(len(reader._hosts), 1024)

    def test_memory_of_lines_is_bounded(self) -> None:
        """Ever new request lines are read as ever, and do not grow the memory."""
        lines = RequestLines(100)
        for number in range(3000):
            line = lines.read(b"GET /%d?%d HTTP/1.1\r\n" % (number, number))
            self.assertEqual((line.path, line.query), (b"/%d" % number, b"%d" % number))
        self.assertLessEqual(len(lines._known), 1024)

    def test_one_reader_serves_all_connections(self) -> None:
        """No state of one head colours the next, whatever the first one ended with."""
        subject = parser()
        for first in (
            head(b"GET / HTTP/1.1", b"Connection: close"),
            POST,
            head(b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: x"),
            b"GET / HTTP/1.0\r\n\r\n",
        ):
            subject.feed(first + GET)
            self.assertIsNotNone(subject.next_request())
            second = subject.next_request()
            assert second is not None
            self.assertEqual(second.target, b"/")


class RefusedTests(SynchronousTestCase):
    """Bytes that must not get through: one status each, and nothing after it."""

    CASES: ClassVar[dict[str, tuple[int, bytes]]] = {
        "TLS hello": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        "HTTP/2 preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        "HTTP/0.9": (400, b"GET /\r\n"),
        "HTTP/0.9 with a version": (505, b"GET / HTTP/0.9\r\n\r\n"),
        "HTTP/2.0": (505, head(b"GET / HTTP/2.0")),
        "HTTP/1.2": (505, head(b"GET / HTTP/1.2")),
        "RTSP": (400, head(b"GET / RTSP/1.0")),
        "ICE": (400, head(b"SOURCE / ICE/1.0")),
        "bare LF after the line": (400, b"GET /x\nHost: a\nContent-Length: 3\n\nabc"),
        "bare LF in the head": (400, b"GET / HTTP/1.1\r\nHost: a\n\r\n\r\n"),
        "bare CR": (400, b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"),
        "folded field": (400, head(b"GET / HTTP/1.1", b"X: a", b" b")),
        "blank before the first field": (400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        "NUL in a value": (400, head(b"GET / HTTP/1.1", b"X: a\0b")),
        "empty name": (400, head(b"GET / HTTP/1.1", b": a")),
        "no colon": (400, head(b"GET / HTTP/1.1", b"Xa")),
        "blank before the colon": (400, head(b"GET / HTTP/1.1", b"Content-Length : 3")),
        "UTF-8 name": (400, head(b"GET / HTTP/1.1", b"X\xc3\xa9: 1")),
        "two spaces": (400, head(b"GET  / HTTP/1.1")),
        "space at the end": (400, head(b"GET / HTTP/1.1 ")),
        "tab for space": (400, head(b"GET\t/ HTTP/1.1")),
        "empty lines first": (400, b"\r\n\r\n" + GET),
        "unknown method": (501, head(b"BREW / HTTP/1.1")),
        "lower-case method": (501, head(b"get / HTTP/1.1")),
        "no token": (400, head(b"G(T / HTTP/1.1")),
        "CONNECT": (501, head(b"CONNECT a:443 HTTP/1.1")),
        "fragment": (400, head(b"GET /a#b HTTP/1.1")),
        "asterisk": (400, head(b"GET * HTTP/1.1")),
        "other scheme": (400, head(b"GET ftp://a/ HTTP/1.1")),
        "authority": (400, head(b"GET a:443 HTTP/1.1")),
        "relative": (400, head(b"GET a/b HTTP/1.1")),
        "no Host": (400, head(host=b"")),
        "two Hosts": (400, head(b"GET / HTTP/1.1", b"Host: a")),
        "URL without Host": (400, head(b"GET http://a/ HTTP/1.1", host=b"")),
        "URL with a bad host": (400, head(b"GET http://b@c/ HTTP/1.1")),
        "bad Host": (400, head(host=b"Host: a b/@")),
        "two types": (400, head(b"GET / HTTP/1.1", b"Content-Type: a", b"Content-Type: a")),
        "expectation": (417, head(b"POST / HTTP/1.1", b"Expect: a", b"Content-Length: 1")),
        "length and chunks": (
            400,
            head(b"POST / HTTP/1.1", b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        ),
        "chunks and length": (
            400,
            head(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked", b"Content-Length: 3"),
        ),
        "two lengths": (
            400,
            head(b"POST / HTTP/1.1", b"Content-Length: 3", b"Content-Length: 3"),
        ),
        "huge length": (413, head(b"POST / HTTP/1.1", b"Content-Length: 18446744073709551616")),
        "chunks in HTTP/1.0": (
            400,
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
    }

    def test_each_broken_rule_has_its_status(self) -> None:
        """Each broken rule has its status, whole and byte by byte, and nothing follows."""
        for name, (status, data) in self.CASES.items():
            with self.subTest(name):
                self.assertEqual(both_ways(data + b"\r\n\r\n" + GET), [status])

    def test_lengths_that_are_no_numbers(self) -> None:
        """A length is digits and nothing else."""
        for value in (b"3, 3", b"+3", b"-3", b"0x3", b"1 0", b"1_0", b""):
            with self.subTest(value):
                data = head(b"POST / HTTP/1.1", b"Content-Length: " + value)
                self.assertEqual(both_ways(data + b"abc" + GET), [400])

    def test_only_chunked_is_accepted(self) -> None:
        """The coding is ``chunked``, once, and nothing that looks like it."""
        for value in (
            b"gzip, chunked",
            b", chunked",
            b"chunked, gzip",
            b"chunked, chunked",
            b"chunked,",
            b"",
            b"\x0bchunked",
            b"identity",
            b"xchunked",
            b"chunked;q=1",
        ):
            with self.subTest(value):
                data = head(b"POST / HTTP/1.1", b"Transfer-Encoding: " + value)
                seen = both_ways(data + b"0\r\n\r\n" + GET)
                self.assertIn(seen, ([400], [501]))

    def test_nothing_after_a_refusal(self) -> None:
        """A request behind a bad one is never run (CVE-2024-49768)."""
        self.assertEqual(
            both_ways(GET + b"GET / HTTP/3.0\r\n\r\n" + GET), [("GET", b"/", b""), 505]
        )

    def test_the_refusal_names_the_rule(self) -> None:
        """The refusal's text names the rule, for the author of the client."""
        subject = parser()
        subject.feed(head(host=b""))
        error = self.assertRaises(RequestRefusedError, subject.next_request)
        self.assertIn("needs a Host", error.rule)


LINE_PIECES = st.sampled_from(
    [
        *(method + b" " for method in sorted(METHODS)),
        *(b"CONNECT ", b"PRI ", b"get ", b"G", b"GET", b" ", b"/", b"*", b"/a?b", b"//", b"#"),
        *(b"http://", b"HTTPS://", b"http://a/", b"http://a", b"http:/", b"ftp://a/"),
        *(
            b" HTTP/1.1\r\n",
            b" HTTP/1.0\r\n",
            b" HTTP/1.1",
            b" HTTP/2.0\r\n",
            b" HTTP",
            b"\r",
            b"\n",
        ),
        *(b"\x80", b"\x00", b"\t", b"%41", b"a", b"Z", b"9", b"~", b"\x7f", b"\xff"),
    ]
)
#: What may follow the beginning of a request line to make it one, if anything can.
ENDINGS = (
    *(b"\n", b"\r\n", b"1\r\n", b"0\r\n", b".1\r\n", b"1.1\r\n", b"/1.1\r\n", b"P/1.1\r\n"),
    *(b"TP/1.1\r\n", b"TTP/1.1\r\n", b"HTTP/1.1\r\n", b" HTTP/1.1\r\n", b"/ HTTP/1.1\r\n"),
    *(b" / HTTP/1.1\r\n", b"a HTTP/1.1\r\n", b"//a HTTP/1.1\r\n", b"://a HTTP/1.1\r\n"),
    *(scheme[size:] + b"a HTTP/1.1\r\n" for scheme in (b"http://",) for size in range(1, 7)),
    *(b"]/ HTTP/1.1\r\n", b":1]/ HTTP/1.1\r\n", b"1/ HTTP/1.1\r\n"),
    *sorted({method[size:] + b" / HTTP/1.1\r\n" for method in METHODS for size in range(12)}),
)


class FirstBadByteTests(SynchronousTestCase):
    """Bytes that cannot become a request line are refused when they come."""

    def accepted(self, line: bytes) -> bool:
        """Whether a whole line is a request line, for us and for llhttp."""
        try:
            RequestLines(100).read(line)
        except RequestRefusedError:
            return False
        return isinstance(outcome([line + b"Host: a\r\n\r\n"])[0], tuple)

    def test_known_methods_are_those_of_llhttp(self) -> None:
        """The known methods are those that llhttp takes for HTTP."""
        for method in sorted(METHODS):
            self.assertEqual(both_ways(head(method + b" / HTTP/1.1"))[0][0], method.decode())  # type: ignore[index]

    def test_the_first_bad_byte_is_refused_at_once(self) -> None:
        """The first byte that is wrong gets its answer, although no line end has come."""
        for data, status in (
            (b"\x80", 400),
            (b"G\x80", 400),
            (b"\xff", 400),
            (b"GEX", 501),
            (b"g", 501),
            (b"CON", 501),
            (b"PRI", 505),
            (b"GET a", 400),
            (b"GET *", 400),
            (b"GET /\x80", 400),
            (b"GET /#", 400),
            (b"GET /\t", 400),
            (b"GET ht:", 400),
            (b"GET http:///", 400),
            (b"GET http://a@", 400),
            (b"GET http://a:65536", 400),
            (b"GET http://[::1]:80x", 400),
            (b"GET /" + b"a" * 8190, 414),
            (b"GET / X", 400),
            (b"GET / HTTP/2", 505),
            (b"GET / HTTP/1.2", 505),
            (b"GET / HTTP/1.1x", 505),
            (b"GET / HTTP/1.1 ", 400),
            (b"GET / HTTP/1.1\n", 400),
        ):
            with self.subTest(data):
                self.assertEqual(both_ways(data), [status])
                self.assertEqual(outcome([data[:-1]]), [])

    @given(st.lists(LINE_PIECES, max_size=6), st.binary(max_size=3))
    def test_refused_when_nothing_can_follow(self, pieces: list[bytes], more: bytes) -> None:
        """A beginning is refused just when no ending of it is acceptable."""
        line = b"".join(pieces) + more
        for size in range(1, min(len(line), 60) + 1):
            beginning = line[:size]
            if b"\n" in beginning or b"[" in beginning:
                break  # the groups of an IPv6 address are checked at its end
            possible = any(self.accepted(beginning + ending) for ending in ENDINGS)
            try:
                RequestLines(100).check(beginning)
            except RequestRefusedError:
                self.assertFalse(possible, beginning)
                break
            self.assertTrue(possible, beginning)

    @given(st.lists(LINE_PIECES, max_size=6), st.binary(max_size=3))
    def test_cuts_do_not_matter(self, pieces: list[bytes], more: bytes) -> None:
        """Whole and byte by byte a line has one outcome."""
        both_ways(b"".join(pieces) + more + b"\r\nHost: a\r\n\r\n" + GET)


FIELDS_BEGIN = b"POST / HTTP/1.1\r\n"
FIELD_PIECES = st.sampled_from(
    [
        *(
            b"Host:",
            b"host",
            b": ",
            b":",
            b" ",
            b"\t",
            b"\r\n",
            b"\r",
            b"\n",
            b"a",
            b"a.b:80",
            b"@",
        ),
        *(b"Content-Length:", b"Transfer-Encoding:", b"Expect:", b"Content-Type:", b"X-Y: z\r\n"),
        *(b"chunk", b"ed", b"CHUNKED", b"100-", b"continue", b"5", b"0", b"11", b"%4", b"1", b":9"),
        *(b"Host: a\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"\0"),
        *(b"Expect: 100-continue\r\n", b"\xe9", b"_", b"Content_Length:"),
    ]
)
#: One of these makes a head acceptable of every beginning that can become one.
FIELD_ENDINGS = tuple(
    value + end
    for value in (
        *(b"", b"x: y", b": y", b"y", b"0", b"\n"),
        *(bytes(b"chunked"[at:]) for at in range(7)),
        *(bytes(b"100-continue"[at:]) for at in range(12)),
        *(b"1", b"41"),
    )
    for end in (
        b"Host: a\r\n\r\n",
        b"\r\n\r\n",
        b"\n\r\n",
        b"\n",
        b"\r\nHost: a\r\n\r\n",
        b"\nHost: a\r\n\r\n",
        b"\n\r\n",
    )
)


class FieldsTests(SynchronousTestCase):
    """Header fields, refused at the first byte that makes them impossible."""

    LIMITS = Limits(head_fields=4, body_bytes=10)
    #: So that there is always room for a Host.
    ROOM = Limits(head_fields=20, body_bytes=10)

    def test_answers_at_the_first_wrong_byte(self) -> None:
        """Each rule has its answer with the byte that breaks it, and not a byte earlier."""
        for data, status in (
            (b"Host: a\r\nHost:", 400),
            (b"Content-Length: 1\r\ncontent-length:", 400),
            (b"Content-Type: a\r\nContent-Type:", 400),
            (b"Expect: 100-continue\r\nExpect:", 400),
            (b"Content-Length: 1\r\nTransfer-Encoding:", 400),
            (b"Transfer-Encoding: chunked\r\nContent-Length:", 400),
            (b"Host: a@", 400),
            (b"Host: a b", 400),
            (b"Host: a:65536", 400),
            (b"Host: %4g", 400),
            (b"Host: [::1 ", 400),
            (b"Host: [:::1]", 400),
            (b"Host: [" + b"0" * 46, 400),
            (b"Expect: 2", 417),
            (b"Expect: \r", 417),
            (b"Expect: 100-continuex", 417),
            (b"Transfer-Encoding: g", 501),
            (b"Transfer-Encoding: chunked,", 501),
            (b"Transfer-Encoding: chunk ", 501),
            (b"Content-Length: x", 400),
            (b"Content-Length: 1 1", 400),
            (b"Content-Length:\r", 400),
            (b"Content-Length: 11", 413),
            (b"X: a\0", 400),
            (b"X: a\n", 400),
            (b"X: a\rb", 400),
            (b" ", 400),
            (b":", 400),
            (b"X ", 400),
            (b"X\xe9", 400),
            (b"X\r", 400),
            (b"A: b\r\nC: d\r\nE: f\r\nG: h\r\nI", 431),
            (b"\r", 400),
            (b"X: a\r\n\r", 400),
            (b"Host: a\r\n\rX", 400),
        ):
            with self.subTest(data):
                data = FIELDS_BEGIN + data
                self.assertEqual(both_ways(data, self.LIMITS), [status])
                self.assertEqual(outcome([data[:-1]], self.LIMITS), [])

    def test_http_1_0(self) -> None:
        """HTTP/1.0 has no transfer codings, and no expectations that could be invalid."""
        begin = b"POST / HTTP/1.0\r\n"
        self.assertEqual(both_ways(begin + b"Transfer-Encoding:"), [400])
        self.assertEqual(both_ways(begin + b"Expect: x\r\n\r\n"), [("POST", b"/", b"")])

    def test_line_and_fields_at_once(self) -> None:
        """The host of a target is checked with the request line, however it arrives."""
        self.assertEqual(outcome([b"GET http://b@c/ HTTP/1.1\r\nX"]), [400])

    def test_long_values_byte_by_byte(self) -> None:
        """Bytes that were checked are not looked at again: 60 kB take no time to speak of."""
        for field in (b"Host: " + b"a" * 60_000, b"X" * 60_000, b"X: " + b"a" * 60_000):
            subject = HeadReader(Limits()).new_check()
            data = FIELDS_BEGIN + field
            for size in range(0, len(data), 7):
                subject.check(data[:size])

    @given(st.lists(FIELD_PIECES, max_size=8), st.binary(max_size=2))
    def test_refused_when_nothing_can_follow(self, pieces: list[bytes], more: bytes) -> None:
        """The beginning of a head is refused just when no ending of it is acceptable."""
        data = FIELDS_BEGIN + b"".join(pieces) + more
        for size in range(len(FIELDS_BEGIN), min(len(data), 80) + 1):
            beginning = data[:size]
            if b"[" in beginning or b"\r\n\r\n" in beginning:
                break  # the groups of an IPv6 address are checked at its end
            possible = any(self.accepted(beginning + ending) for ending in FIELD_ENDINGS)
            refused = bool(outcome([beginning], self.ROOM))
            self.assertEqual(refused, not possible, beginning)
            if refused:
                break

    def accepted(self, data: bytes) -> bool:
        """Whether a complete head is accepted, by us and by llhttp."""
        if b"\r\n\r\n" not in data:
            return False
        try:
            HeadReader(self.ROOM).read(data[: data.index(b"\r\n\r\n") + 4])
        except RequestRefusedError:
            return False
        return True

    @given(st.lists(FIELD_PIECES, max_size=10), st.lists(st.integers(1, 30), max_size=20))
    def test_cuts_do_not_matter(self, pieces: list[bytes], sizes: list[int]) -> None:
        """Whole, byte by byte and in any pieces a head has one outcome."""
        data = FIELDS_BEGIN + b"".join(pieces) + b"\r\n\r\n" + GET
        whole = both_ways(data, self.LIMITS)
        cut, rest = [], data
        for size in sizes:
            cut.append(rest[:size])
            rest = rest[size:]
        self.assertEqual(outcome([*cut, rest], self.LIMITS), whole)


class LimitsTests(SynchronousTestCase):
    """The bounds of a head, from both sides."""

    LIMITS = Limits(target_bytes=100, head_bytes=1000, head_fields=5, body_bytes=10)

    def test_a_target_over_the_limit_is_414(self) -> None:
        """A target of 100 bytes passes, one more is 414."""
        for size, passes in ((100, True), (101, False)):
            data = head(b"GET /" + b"a" * (size - 1) + b" HTTP/1.1")
            self.assertEqual(both_ways(data, self.LIMITS) != [414], passes)

    def test_target_without_end(self) -> None:
        """A target that does not end is not waited for."""
        self.assertEqual(both_ways(b"GET /" + b"a" * 200, self.LIMITS), [414])

    def test_a_head_over_the_limit_is_431(self) -> None:
        """A head of 1000 bytes passes, one more is 431."""
        fixed = len(head(b"GET / HTTP/1.1", b"X: "))
        for size, passes in ((1000, True), (1001, False)):
            data = head(b"GET / HTTP/1.1", b"X: " + b"a" * (size - fixed))
            self.assertEqual(len(data), size)
            self.assertEqual(both_ways(data, self.LIMITS) != [431], passes)

    def test_head_without_end(self) -> None:
        """A head that does not end is not waited for."""
        self.assertEqual(both_ways(head()[:-2] + b"X: " + b"a" * 2000, self.LIMITS), [431])

    def test_fields_over_the_limit_are_431(self) -> None:
        """Five fields pass, six are 431."""
        for count, passes in ((5, True), (6, False)):
            data = head(b"GET / HTTP/1.1", *([b"X: a"] * (count - 1)))
            self.assertEqual(both_ways(data, self.LIMITS) != [431], passes)

    def test_a_body_over_the_limit_is_413(self) -> None:
        """A length over the limit is 413 at the head, a chunk at its size."""
        for size, passes in ((10, True), (11, False)):
            by_length = head(b"POST / HTTP/1.1", b"Content-Length: %d" % size)
            by_chunks = head(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked")
            self.assertEqual(both_ways(by_length, self.LIMITS) != [413], passes)
            self.assertEqual(
                both_ways(by_chunks + b"1\r\na\r\n%x\r\n" % (size - 1), self.LIMITS) != [413],
                passes,
            )

    def test_a_negative_limit_is_refused(self) -> None:
        """A limit below zero is refused."""
        error = self.assertRaises(ValueError, Limits, head_bytes=-1)
        self.assertIn("head_bytes", str(error))

    def test_a_limit_that_no_request_can_meet_is_refused(self) -> None:
        """A limit of zero that no client could meet is invalid; other limits may be zero."""
        error = self.assertRaises(ValueError, Limits, write_stall=0)
        self.assertIn("write_stall", str(error))
        self.assertEqual(Limits(keep_alive=0, body_bytes=0, queue=0).body_bytes, 0)

    def test_the_table_has_every_limit(self) -> None:
        """The table has every limit, with a unit and a sentence, under its option's name."""
        table = limits_table()
        self.assertEqual([row.name for row in table], [each.name for each in fields(Limits)])
        self.assertIn("head-timeout", [row.option for row in table])
        for row in table:
            self.assertTrue(row.unit and row.help.endswith("."), row.name)
            self.assertEqual(row.default, getattr(Limits(), row.name))


class StateTests(SynchronousTestCase):
    """What a connection can ask its parser."""

    def test_the_parser_knows_what_the_next_byte_belongs_to(self) -> None:
        """The parser knows what the next byte belongs to."""
        subject = parser()
        for data, expecting in (
            (b"", ParserState.REQUEST),
            (b"POST / HT", ParserState.HEAD),
            (b"TP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n", ParserState.BODY),
            (b"a", ParserState.BODY),
        ):
            subject.feed(data)
            self.assertIsNone(subject.next_request())
            self.assertIs(subject.expecting, expecting)
        subject.feed(b"b")
        self.assertIsNotNone(subject.next_request())
        self.assertIs(subject.expecting, ParserState.REQUEST)
        subject.feed(b"\0")
        self.assertRaises(RequestRefusedError, subject.next_request)
        self.assertIs(subject.expecting, ParserState.NOTHING)

    def test_pipelined_requests_stay_bytes(self) -> None:
        """One request is parsed at a time, however many are there."""
        subject = parser()
        subject.feed(GET * 100)
        subject.next_request()
        self.assertEqual(subject.pending, len(GET) * 99)

    def test_continue_is_wanted_once(self) -> None:
        """``100 Continue`` is sent once, and only while the client waits."""
        waiting = head(b"POST / HTTP/1.1", b"Expect: 100-continue", b"Content-Length: 3")
        subject = parser()
        subject.feed(waiting)
        self.assertIsNone(subject.next_request())
        self.assertEqual([subject.take_continue(), subject.take_continue()], [True, False])
        eager = parser()
        eager.feed(waiting + b"a")
        self.assertIsNone(eager.next_request())
        self.assertFalse(eager.take_continue())

    def test_nothing_to_continue(self) -> None:
        """Without a body there is nothing to wait for; HTTP/1.0 has no expectations."""
        for data in (
            head(b"POST / HTTP/1.1", b"Expect: 100-continue"),
            b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
        ):
            self.assertFalse(one(data).expects_continue)


TEXT = st.sampled_from(
    [
        *(b"GET", b"POST", b" ", b"/", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\r", b"\n", b":"),
        *(b"Host: a", b"Content-Length: ", b"Transfer-Encoding: chunked", b"3", b"0", b"abc"),
        *(b"\r\n\r\n", b"Connection: close", b"Upgrade: x", b"Expect: 100-continue", b"\0"),
        *(GET, POST, CHUNKED, b"\xe9"),
    ]
)


class PropertyTests(SynchronousTestCase):
    """What holds for all bytes."""

    @given(st.lists(TEXT, max_size=12).map(b"".join))
    def test_cuts_do_not_matter(self, data: bytes) -> None:
        """Whole and byte by byte, the same requests and the same refusal."""
        both_ways(data)

    @given(st.sampled_from([GET, POST, CHUNKED]), st.integers(0, 200), st.binary(max_size=3))
    def test_mutated_requests_never_crash(self, data: bytes, at: int, put: bytes) -> None:
        """A request with a few bytes changed is served or refused, never a crash."""
        both_ways(data[:at] + put + data[at + 1 :] + GET)

    @given(st.binary(max_size=200))
    def test_arbitrary_bytes_never_crash(self, data: bytes) -> None:
        """Arbitrary bytes are served or refused, never a crash."""
        both_ways(data)

    @given(
        st.lists(st.sampled_from([GET, POST, CHUNKED]), max_size=6),
        st.lists(st.integers(1, 60), max_size=40),
    )
    def test_pipelined_requests_are_found_in_order(
        self, requests: list[bytes], sizes: list[int]
    ) -> None:
        """However a pipeline of good requests is cut, each is found, in order."""
        data = b"".join(requests)
        pieces = []
        for size in sizes:
            pieces.append(data[:size])
            data = data[size:]
        seen = outcome([*pieces, data])
        self.assertEqual(len(seen), len(requests))
        self.assertFalse([each for each in seen if isinstance(each, int)])
