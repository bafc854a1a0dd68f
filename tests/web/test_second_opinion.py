"""A second opinion on zkservice.web: whatever an application says, h11 reads it as it was meant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import h11
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.web.support import Client, FrontEnd, StartResponse


@dataclass(frozen=True)
class Said:
    """What an application says for one request."""

    status: str
    length: int | None  # declared; may be wrong
    close: bool
    written: list[bytes]
    returned: list[bytes]
    lazily: bool  # as an iterator, whose length is unknown

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Say it."""
        headers = [("X-Said", "é")]
        if self.length is not None:
            headers.append(("Content-Length", str(self.length)))
        if self.close:
            headers.append(("Connection", "close"))
        write = start_response(self.status, headers)
        for block in self.written:
            write(block)
        return iter(self.returned) if self.lazily else self.returned

    def meant(self, method: str) -> tuple[bytes, bool]:
        """The body for the client, and whether all that was promised is there."""
        if method == "HEAD" or self.status[:3] in ("204", "205", "304"):
            return b"", True
        body = b"".join(self.written + self.returned)
        return body[: self.length], self.length is None or len(body) >= self.length


SAID = st.builds(
    Said,
    st.sampled_from(
        ["200 OK", "204 No Content", "205 Reset Content", "304 Not Modified", "404 ", "500 Ach"]
    ),
    st.none() | st.integers(0, 12),
    st.booleans(),
    st.lists(st.binary(max_size=6), max_size=2),
    st.lists(st.binary(max_size=6), max_size=3),
    st.booleans(),
)


def read(connection: h11.Connection, method: str) -> tuple[h11.Response, bytes, bool]:
    """Read one response: its head, its body, and whether that was complete."""
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    head: h11.Response | None = None
    body = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            event = h11.NEED_DATA  # the end of the connection came too early
        if isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        else:
            assert head is not None, event
            return head, body, isinstance(event, h11.EndOfMessage)


class SecondOpinionTests(SynchronousTestCase):
    """Two readings of the same responses."""

    @given(
        st.lists(st.tuples(st.sampled_from(["GET", "HEAD", "POST"]), SAID), min_size=1, max_size=3),
        st.sampled_from(["HTTP/1.1", "HTTP/1.0"]),
    )
    def test_what_was_meant(self, exchanges: list[tuple[str, Said]], protocol: str) -> None:
        """Each response has the body that was meant, and ends where the next begins."""
        answers = iter([said for _, said in exchanges])
        client: Client = FrontEnd(lambda environ, start: next(answers)(environ, start)).connect()
        keep = "Connection: keep-alive\r\n" if protocol == "HTTP/1.0" else ""
        data = client.send(
            "".join(
                f"{method} / {protocol}\r\nHost: a\r\n{keep}\r\n" for method, _ in exchanges
            ).encode()
        )
        closed = client.closed or client.transport.aborted
        connection = h11.Connection(h11.CLIENT)
        connection.receive_data(data)
        if closed:
            connection.receive_data(b"")
        for method, said in exchanges:
            head, body, complete = read(connection, method)
            self.assertEqual(head.status_code, int(said.status[:3]))
            self.assertIn((b"x-said", b"\xe9"), head.headers)
            self.assertEqual((body, complete), said.meant(method))
            if connection.their_state is not h11.DONE:
                break
            connection.start_next_cycle()
        else:
            self.assertFalse(closed)
            return
        self.assertTrue(closed)
