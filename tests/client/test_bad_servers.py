"""Tests of the client with servers that violate the protocol."""

from __future__ import annotations

from struct import Struct
from typing import Final

from twisted.internet.protocol import Factory, Protocol
from typing_extensions import override

from tests.client.base import HOST, PORT, TIMEOUT, ClientTestCase, ignore_close
from zkservice.client import State
from zkservice.errors import (
    AuthFailedError,
    ProtocolError,
    ServerError,
    SessionClosedRequireSaslAuthError,
)
from zkservice.wire.frames import frame
from zkservice.wire.jute import encode
from zkservice.wire.multi import encode_results
from zkservice.wire.records import ConnectResponse, EmptyResponse, OpCode, Xid

_REPLY: Final = Struct(">iqi")


class Answering(Protocol):
    """Replies to the handshake, and to nothing else."""

    def __init__(self, response: ConnectResponse) -> None:
        self._response = response

    @override
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(frame(encode(self._response)))


class HandshakeTests(ClientTestCase):
    """Replies to a handshake that are invalid."""

    def answer(self, response: ConnectResponse) -> None:
        """Make the only server reply with this to every handshake from now on."""
        factory = Factory()
        factory.buildProtocol = lambda addr: Answering(response)  # type: ignore[method-assign]
        self.network.listen(HOST, PORT, factory)

    def check_that_it_is_a_failure(self, response: ConnectResponse) -> None:
        """The client backs off and retries; no session has expired, and calls wait."""
        self.answer(response)
        client = self.client()
        states: list[State] = []
        client.subscribe(states.append)
        ignore_close(client.connect())
        call = client.exists("/a")
        self.network.advance(10)
        self.assertTrue(15 < len(self.network.attempts) < 40, len(self.network.attempts))
        self.assertEqual(states, [State.CONNECTING])
        self.assertEqual(client.statistics().expiries, 0)
        self.network.listen(HOST, PORT, self.server.factory)
        self.network.advance(1)
        self.assertIsNone(self.result(call))

    def test_no_session_for_a_new_client(self) -> None:
        """A server that replies "expired" to a new client is not retried in a tight loop."""
        self.check_that_it_is_a_failure(ConnectResponse(0, 0, 0, bytes(16), False))

    def test_session_without_an_id(self) -> None:
        """Session 0 is invalid."""
        self.check_that_it_is_a_failure(ConnectResponse(0, 6000, 0, bytes(16), False))

    def test_after_an_expiry(self) -> None:
        """The same after a real expiry: it is reported once, then the client backs off."""
        client = self.connected()
        self.answer(ConnectResponse(0, 0, 0, bytes(16), False))
        self.cable.cut()
        self.network.advance(TIMEOUT)
        self.assertEqual(client.statistics().expiries, 1)
        self.assertIs(client.state, State.CONNECTING)
        self.assertLess(len(self.network.attempts), 40)


class RefusalTests(ClientTestCase):
    """A server that refuses the client, but does not close the connection as it should."""

    def refused(self, xid: int, error: type[ServerError]) -> None:
        """Deliver an error reply with this xid, instead of the server's reply."""
        self.network.run_due()
        self.cable.client.outgoing.clear()  # the real server never sees the request
        reply = _REPLY.pack(xid, 0, error.code)
        self.cable.client.protocol.dataReceived(frame(reply))

    def test_a_refused_identity_closes_the_client(self) -> None:
        """A refused credential closes the client, although the server keeps the connection."""
        client = self.connected()
        adding = client.add_auth("digest", "u:p")
        self.refused(Xid.AUTH, AuthFailedError)
        self.failure(adding, AuthFailedError)
        self.assertIs(client.state, State.AUTH_FAILED)
        self.assertFalse(self.cable.up)

    def test_a_request_that_needs_another_identity_closes_the_client(self) -> None:
        """An error reply to a request that requires SASL closes the client, too."""
        client = self.connected()
        call, other = client.get("/"), client.exists("/")
        self.network.run_due()
        self.refused(client.statistics().requests - 1, SessionClosedRequireSaslAuthError)
        self.failure(call, SessionClosedRequireSaslAuthError)
        self.failure(other, SessionClosedRequireSaslAuthError)
        self.assertIs(client.state, State.AUTH_FAILED)
        self.assertFalse(self.cable.up)


class ReplyTests(ClientTestCase):
    """Replies that do not fit their requests."""

    def test_no_watch_without_a_value(self) -> None:
        """A reply that cannot be read leaves no watch behind."""
        client = self.connected()
        value, watch = client.get_and_watch("/")
        self.network.run_due()
        self.cable.client.outgoing.clear()  # the server never sees it
        reply = _REPLY.pack(client.statistics().requests, 1, 0) + b"nonsense"
        self.cable.client.protocol.dataReceived(frame(reply))
        self.failure(value, ProtocolError)
        self.assertEqual(client.statistics().watches, 0)
        self.result(client.close())
        self.assertNoResult(watch)

    def test_result_of_another_operation(self) -> None:
        """A transaction whose results do not fit fails, and does not stay pending."""
        client = self.connected()
        transaction = client.transaction()
        transaction.create("/a")
        done = transaction.commit()
        self.network.run_due()
        self.cable.client.outgoing.clear()  # the server never sees it
        body = encode_results([(OpCode.DELETE, EmptyResponse())])
        reply = _REPLY.pack(client.statistics().requests, 1, 0) + body
        self.cable.client.protocol.dataReceived(frame(reply))
        self.failure(done, ProtocolError)
        self.assertIsNone(self.result(client.exists("/a")))
