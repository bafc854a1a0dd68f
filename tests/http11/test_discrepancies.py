"""Requests that proxies and servers are known to parse differently.

A proxy in front of this server may have parsed the same bytes as something else.  So each request
is parsed exactly as the specification says, or refused.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.http11.support import both_ways, one, parser

GET = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
BYTES = [bytes([each]) for each in range(256)]


def get(target: bytes = b"/", host: bytes = b"a", version: bytes = b"HTTP/1.1") -> bytes:
    """A request without a body."""
    return b"GET " + target + b" " + version + b"\r\nHost: " + host + b"\r\n\r\n"


class FramingTests(SynchronousTestCase):
    """The fields that say where a body ends, and their doubles."""

    def refused(self, data: bytes) -> None:
        """See that data is refused at its first request, and what it hides is not run."""
        with self.subTest(data):
            seen = both_ways(data + GET)
            self.assertEqual(len(seen), 1, seen)
            self.assertIn(seen[0], (400, 413, 501))

    def test_bytes_around_a_coding(self) -> None:
        """No byte before, in or behind the field makes some see chunks where others do not."""
        for byte in BYTES:
            name, value = b"Transfer-Encoding", b"chunked"
            for field in (
                byte + name + b": " + value,
                name + byte + b": " + value,
                byte + name + byte + b": " + value,
                name + b":" + byte + value,
                name + b": " + value + byte,
                name + byte + b":" + byte + value + byte,
            ):
                seen = both_ways(POST + field + b"\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + GET)
                if len(seen) == 2:  # with a token's byte it is another field: the length counts
                    self.assertIn(byte, TOKEN, field)
                    self.assertEqual(seen[0], ("POST", b"/", b"0\r\n\r\n"), field)
                else:
                    self.assertIn(seen, ([400], [501]), field)

    def test_bytes_around_a_length(self) -> None:
        """A length is what it is with blanks around it, and nothing else."""
        for byte in BYTES:
            for value in (byte + b"5", b"5" + byte, byte + b"5" + byte):
                field = b"Content-Length:" + value + b"\r\n\r\nhello"
                if byte in b" \t":
                    self.assertEqual(one(POST + field).body.read(), b"hello")
                elif not byte.isdigit():
                    self.refused(POST + field)

    def test_ambiguous_lengths_are_refused(self) -> None:
        """Several lengths, even the same, and numbers in other spellings are refused."""
        for value in (
            *(b"5, 5", b"5,5", b"5 5", b"5;", b"5.", b"5.0", b"5e0", b"0x5", b"5_0", b"'5'", b"-0"),
            *(b"\xb2", b"\xd9\xa5", b"1" * 21, b"18446744073709551616", b"9" * 400),
            *(b"5\r\nContent-Length: 5", b"\r\nContent-Length: 5", b"5\r\n Content-Length: 5"),
            *(b"5\r\nContent-Length : 5", b"5\r\nTransfer-Encoding: identity"),
        ):
            self.refused(POST + b"Content-Length: " + value + b"\r\n\r\nhello")

    def test_zeros_before_a_length(self) -> None:
        """They are decimal, and the application gets the number alone."""
        for zeros in (1, 30, 5000):
            request = one(POST + b"Content-Length: " + b"0" * zeros + b"10\r\n\r\n0123456789")
            self.assertEqual(request.body.read(), b"0123456789")
            self.assertEqual(request.fields["CONTENT_LENGTH"], "10")

    def test_lists_of_codings_are_refused(self) -> None:
        """Lists, parameters, quotes and lines of codings are refused, whatever is last."""
        for value in (
            *(b",chunked", b"chunked,", b"chunked, cow", b"cow, chunked", b"cow chunked bar"),
            *(b"chunked chunked", b"chunkedchunked", b"chunk", b"xchunked", b"chunked;q=1"),
            *(b'"chunked"', b"'chunked'", b"ch\x96nked", b"chun\xe2\x84\xaaed", b"identity"),
            *(b"identity, chunked", b"gzip, chunked", b"chunked, identity", b"\r\n chunked"),
            *(b"chunked\r\nTransfer-Encoding: chunked", b"cow\r\nTransfer-Encoding: chunked"),
            *(b"chunked\r\nTransfer-Encoding: gzip", b"\r\nTransfer-Encoding: chunked"),
        ):
            self.refused(POST + b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n")

    def test_chunked_is_accepted_in_any_case(self) -> None:
        """``chunked`` is accepted in any case, and with blanks before it."""
        for field in (b"TrAnSFer-EnCODinG: cHuNkeD", b"Transfer-Encoding:\t chunked"):
            seen = both_ways(POST + field + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + GET)
            self.assertEqual([each[2] for each in seen if isinstance(each, tuple)], [b"abc", b""])

    def test_names_that_look_like_the_coding_are_refused(self) -> None:
        """What others may take for the coding is refused as a name, or is another field."""
        for name in (
            *("Tran\u017ffer-Encoding".encode(), "Transfer-Encod\u0131ng".encode()),
            *("Transfer\u2010Encoding".encode(), b"Transfer Encoding", b"Transfer\\Encoding"),
            *(b"Transf\x82r-Encoding", b"Transfer-Encoding x", b":Transfer-Encoding", b""),
            *(b"Transfer-\r\nEncoding", b"Transfer\r-Encoding", b"X: y\r\n\rTransfer-Encoding"),
            *(
                b"X: y\r\n Transfer-Encoding",
                b"X: y\r\n\tTransfer-Encoding",
                b"(Transfer-Encoding)",
            ),
        ):
            self.refused(POST + name + b": chunked\r\n\r\n0\r\n\r\n")
        for name in (b"Transfer_Encoding", b"Transfer--Encoding", b"Transfer-%45ncoding"):
            seen = both_ways(POST + name + b": chunked\r\nContent-Length: 3\r\n\r\nabc" + GET)
            self.assertEqual(seen[0], ("POST", b"/", b"abc"))

    def test_a_body_of_a_method_without_one(self) -> None:
        """It is framed like any other body, and is not read as a request."""
        for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE"):
            head = method + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(GET)
            self.assertEqual(both_ways(head + GET), [(method.decode(), b"/", GET)])

    def test_only_one_expectation_is_accepted(self) -> None:
        """``100-continue`` is accepted, once."""
        for value, status in (
            *(
                (b"100-continue, 100-continue", 417),
                (b"y 100-continue", 417),
                (b"100 continue", 417),
            ),
            *((b"100-continue;q=1", 417), (b"\r\n 100-continue", 417)),
            (b"100-continue\r\nExpect: 100-continue", 400),
        ):
            data = POST + b"Expect: " + value + b"\r\nContent-Length: 3\r\n\r\nabc"
            self.assertEqual(both_ways(data + GET), [status], value)


class LineTests(SynchronousTestCase):
    """Bytes of the request line and of the fields, each of them."""

    def test_bytes_of_a_name(self) -> None:
        """A name is a token."""
        for byte in BYTES:
            seen = both_ways(get()[:-2] + b"X" + byte + b"Y: 1\r\n\r\n")
            if byte == b":":
                self.assertEqual(one(get()[:-2] + b"X:Y: 1\r\n\r\n").fields["HTTP_X"], "Y: 1")
            else:
                self.assertEqual(seen == [400], byte not in TOKEN, byte)

    def test_bytes_of_a_value(self) -> None:
        """A value has no controls but tabs; other bytes than blanks are not taken off."""
        for byte in BYTES:
            data = get()[:-2] + b"X: " + byte + b"v" + byte + b"\r\n\r\n"
            if byte in b" \t":
                self.assertEqual(one(data).fields["HTTP_X"], "v")
            elif byte < b" " or byte == b"\x7f":
                self.assertEqual(both_ways(data), [400], byte)
            else:
                self.assertEqual(
                    one(data).fields["HTTP_X"],
                    f"{byte.decode('latin-1')}v" + byte.decode("latin-1"),
                )

    def test_bytes_of_a_target(self) -> None:
        """A target is visible ASCII without a fragment; what has to be escaped is kept as it is."""
        for byte in BYTES:
            target = b"/" + byte
            if b"!" <= byte <= b"~" and byte != b"#":
                self.assertEqual(one(get(target)).target, target)
            else:
                self.assertEqual(both_ways(get(target)), [400], byte)

    def test_bytes_of_a_method(self) -> None:
        """No byte makes another method of GET."""
        for byte in BYTES:
            for method in (byte + b"GET", b"GET" + byte):
                seen = both_ways(method + get()[3:])
                self.assertIn(seen, ([400], [501]), method)

    def test_newer_methods_are_accepted(self) -> None:
        """WebDAV's and the newer ones are methods like GET."""
        for method in (
            *("PATCH", "QUERY", "PURGE", "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK"),
            *("UNLOCK", "REPORT", "SEARCH", "ACL", "MKCALENDAR", "LINK", "UNLINK", "TRACE"),
        ):
            self.assertEqual(one(method.encode() + get()[3:]).method, method)

    def test_only_two_versions_are_accepted(self) -> None:
        """A version is one of two, letter for letter."""
        for version in (
            *(
                b"HTTP/1.10",
                b"HTTP/1.01",
                b"HTTP/01.1",
                b"HTTP/1",
                b"HTTP/1.",
                b"HTTP/.1",
                b"HTTP/",
            ),
            *(b"HTTP/4294967297.1", b"HTTP/1,1", b"HTTP/\r\r1.1", b"http/1.1", b"HTTPS/1.1", b""),
            *(b"HTTP /1.1", b"HTTP/1.1 ", b"HTTP/1.1 HTTP/1.1", b"HTTP/1.1\t", b"IHTTP/1.0"),
        ):
            self.assertIn(both_ways(get(version=version) + GET), ([400], [505]), version)

    def test_only_cr_lf_ends_a_line(self) -> None:
        """A line ends in CR LF, everywhere, and in nothing else."""
        good = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
        for end in (b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\0\n", b"\r \n", b"\x0b"):
            for number in range(4):
                lines = good.split(b"\r\n", number + 1)
                data = b"\r\n".join(lines[:-1]) + end + lines[-1]
                seen = both_ways(data + b"\r\n\r\n" + GET)
                self.assertIn(seen, ([400], [505]), data)

    def test_other_protocols_are_refused_early(self) -> None:
        """Another protocol is refused with an error, as soon as it is recognized."""
        for data in (
            *(b"SSH-2.0-OpenSSH_9.2\r\n", b"EHLO x\r\n", b"\x03\x00\x00/*\xe0\x00\x00\x00", b"\0"),
            *(b"\x12\x34\0\x02\x0a\x0a", b"\x16\x03\x01", b"\r\n\r\n\0\r\nQUIT\n"),
            *(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + GET, b"\xef\xbb\xbf" + GET, b" " + GET),
        ):
            self.assertIn(both_ways(data), ([400], [501]), data)

    def test_an_incomplete_request_is_not_refused(self) -> None:
        """The beginning of a good request is kept, wherever it ends."""
        data = b"POST /p?q HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3\r\nX: \xe9\r\n\r\nabc"
        subject = parser()
        for at in range(len(data) - 1):
            subject.feed(data[at : at + 1])
            self.assertIsNone(subject.next_request())
        subject.feed(data[-1:])
        self.assertIsNotNone(subject.next_request())


class HostTests(SynchronousTestCase):
    """The host of a request."""

    def test_valid_hosts_are_accepted(self) -> None:
        """Names, addresses and ports that exist, and the empty one."""
        for host in (
            *(b"", b"a", b"a.", b"A.example", b"a_b.c", b"xn--4ca.example", b"a:", b"a:80", b"a:0"),
            *(b"a:65535", b"192.0.2.1:8080", b"[::1]", b"[::1]:", b"[2001:DB8::1]:80", b"a%20b"),
            b"[::ffff:192.0.2.1]",
        ):
            self.assertEqual(one(get(host=host)).fields["HTTP_HOST"], host.decode())

    def test_ambiguous_hosts_are_refused(self) -> None:
        """What an application could not take apart, or not as its proxy did, is refused."""
        for host in (
            *(
                b"a b",
                b"a/b",
                b"a?b",
                b"a#b",
                b"a\\b",
                b"a|b",
                b"<a>",
                b"u@a",
                b"u:p@a",
                b"a@",
                b"a\tb",
            ),
            *(
                b":80",
                b":",
                b"a:80:80",
                b"a:-1",
                b"a:+80",
                b"a:8x",
                b"a: 80",
                b"a:65536",
                b"a:999999",
            ),
            *(b"::1", b"[]", b"[", b"[::1", b"[::1]x", b"[:::::]", b"[192.0.2.1]", b"[1::2::3]"),
            *(b"[::1%25eth0]", b"[v1.x]", b"\xe4.example", b"\xffa\xff", b"a%", b"a%zz", b"a\0.b"),
        ):
            self.assertEqual(both_ways(get(host=host) + GET), [400], host)

    def test_the_host_of_a_target_counts(self) -> None:
        """A target's host is held to the same, and counts instead of the field's."""
        for host in (b"b", b"b:8080", b"[::1]:80"):
            for target in (
                b"http://" + host,
                b"HTTPS://" + host + b"/p",
                b"http://" + host + b"?q",
            ):
                self.assertEqual(one(get(target)).fields["HTTP_HOST"], host.decode())
        for target in (
            *(b"http://:80/", b"http:///p", b"http://", b"http:/p", b"http:p", b"http://u@b/"),
            *(
                b"http://b:99999/",
                b"http://[::1/",
                b"http://b\\c/",
                b"ws://b/",
                b"b:80",
                b"//",
                b"*",
            ),
        ):
            expected = [("GET", b"//", b"")] if target == b"//" else [400]
            self.assertEqual(both_ways(get(target)), expected, target)

    def test_an_asterisk_is_only_a_target_of_options(self) -> None:
        """``*`` is a target of OPTIONS alone, and alone."""
        for line in (b"OPTIONS *?q", b"OPTIONS **", b"OPTIONS /*#", b"NOTIFY *", b"M-SEARCH *"):
            self.assertEqual(both_ways(line + b" HTTP/1.1\r\nHost: a\r\n\r\n"), [400], line)
