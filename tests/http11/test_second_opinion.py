"""A second opinion on zkservice.http11: whatever it accepts, h11 reads in the same way."""

from __future__ import annotations

from typing import Any

import h11
from hypothesis import assume, example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.http11.support import outcome

TOKEN = st.text("abcXYZ019-!#$%&'*+.^`|~", min_size=1, max_size=12).map(str.encode)
VALUE = st.text('abc XYZ019\t,;="/é', max_size=20).map(lambda text: text.encode("latin-1"))
TARGET = st.text("/ab?=&%20.;:@", max_size=20).map(lambda text: b"/" + text.encode())
METHOD = st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"])
CHUNKS = st.lists(st.binary(min_size=1, max_size=20), max_size=4)
OURS = (b"host", b"content-length", b"transfer-encoding", b"expect", b"connection", b"upgrade")


@st.composite
def requests(draw: Any) -> bytes:
    """A request that every server must read."""
    lines = [b"%s %s HTTP/1.1" % (draw(METHOD), draw(TARGET)), b"Host: a"]
    for name, value in draw(st.lists(st.tuples(TOKEN, VALUE), max_size=5)):
        if name.lower() not in (*OURS, b"content-type"):
            lines.append(name + b": " + value)
    chunks = draw(CHUNKS)
    if draw(st.booleans()):
        lines.append(b"Transfer-Encoding: chunked")
        body = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks) + b"0\r\n\r\n"
    else:
        body = b"".join(chunks)
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def opinion(data: bytes) -> list[tuple[str, bytes, bytes]]:
    """What h11 makes of some requests of one connection."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    seen: list[tuple[str, bytes, bytes]] = []
    head: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            head, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            seen.append((head.method.decode(), head.target, body))
            response = h11.Response(status_code=204, headers=[])
            connection.send(response)
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return seen
            connection.start_next_cycle()
        else:
            return seen


class SecondOpinionTests(SynchronousTestCase):
    """Two readers of the same bytes."""

    @given(st.lists(requests(), min_size=1, max_size=3))
    def test_good_requests_are_read_alike(self, data: list[bytes]) -> None:
        """Requests by the book are read, and read alike."""
        ours = outcome([b"".join(data)])
        self.assertEqual(len(ours), len(data))
        self.assertEqual(ours, opinion(b"".join(data)))

    @given(requests(), st.integers(0, 200), st.integers(0, 2), st.binary(max_size=3))
    @example(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 0, 0, b"")
    def test_what_we_accept(self, data: bytes, at: int, cut: int, put: bytes) -> None:
        """A damaged request is refused, or read as the other one reads it: no smuggling."""
        assume(at < len(data))
        damaged = data[:at] + put + data[at + cut :]
        accepted = [each for each in outcome([damaged]) if not isinstance(each, int)]
        try:
            other = opinion(damaged)
        except h11.RemoteProtocolError:
            other = []
        if accepted and other:
            self.assertEqual(accepted[0], other[0])
