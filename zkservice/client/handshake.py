"""Connect to an address, and exchange ConnectRequest and ConnectResponse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.internet.abstract import isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.client.protocol import Receiver, ZooKeeperProtocol
from zkservice.errors import SilentCloseError
from zkservice.wire.frames import frame
from zkservice.wire.hosts import Address
from zkservice.wire.jute import decode, encode
from zkservice.wire.records import ConnectRequest, ConnectResponse

#: Makes the TLS side of a connection, from the host's name.
TLSCreator = Callable[[str], IOpenSSLClientConnectionCreator]


class HandshakeResult(NamedTuple):
    """A server's ConnectResponse, and the connection on which it came."""

    protocol: ZooKeeperProtocol
    response: ConnectResponse
    sent_at: float  # when the request was sent, by the clock of `handshake`


def endpoint(
    reactor: Any, address: Address, ip: str, timeout: float, tls: TLSCreator | None
) -> IStreamClientEndpoint:
    """The endpoint for one IP address of a server; a certificate must be for the server's name."""
    tcp = TCP6ClientEndpoint if isIPv6Address(ip) else TCP4ClientEndpoint
    plain: IStreamClientEndpoint = tcp(reactor, ip, address.port, timeout=timeout)
    return plain if tls is None else wrapClientTLS(tls(address.host), plain)


async def handshake(
    target: IStreamClientEndpoint, request: ConnectRequest, limit: int, clock: Callable[[], float]
) -> HandshakeResult:
    """Connect, send the ConnectRequest and wait for the ConnectResponse.

    Cancelling it closes the connection at once.

    Args:
        target: the server.
        request: what to send.
        limit: bytes of the largest frame that the connection will accept.
        clock: returns seconds, for `HandshakeResult.sent_at`.

    Raises:
        SilentCloseError: the server closed the connection.
        ProtocolError: its reply is not a ConnectResponse.
        Exception: whatever the endpoint fails with.
    """
    packet = frame(encode(request))
    protocol: Any = await target.connect(_ProtocolFactory(limit))
    protocol.receiver = waiter = _ReplyWaiter()
    try:
        sent_at = clock()
        protocol.write(packet)
        return HandshakeResult(protocol, decode(ConnectResponse, await waiter.reply), sent_at)
    except SilentCloseError as error:
        if _closed_before_certificate(protocol.transport):
            problem = f"{error.summary}; is its port for TLS?"
            raise SilentCloseError(None, problem) from None
        raise
    except BaseException:
        protocol.abort()
        raise


def _closed_before_certificate(transport: Any) -> bool:
    """Whether the connection was closed before the server had sent its certificate."""
    peer_certificate = getattr(transport, "getPeerCertificate", None)
    return peer_certificate is not None and peer_certificate() is None


class _ProtocolFactory(Factory):
    """Makes the protocol that an endpoint connects."""

    noisy = False

    def __init__(self, limit: int) -> None:
        self._limit = limit

    @override
    def buildProtocol(self, addr: object) -> ZooKeeperProtocol:
        return ZooKeeperProtocol(self._limit)


class _ReplyWaiter(Receiver):
    """Waits for the one frame of the handshake."""

    def __init__(self) -> None:
        self.reply: Deferred[bytes] = Deferred(lambda _: None)

    @override
    def frame_received(self, payload: bytes) -> None:
        if not self.reply.called:
            self.reply.callback(payload)

    @override
    def connection_lost(self, reason: Failure) -> None:
        if self.reply.called:
            return
        closed_silently = (
            reason.check(ConnectionDone, ConnectionLost, ConnectionAborted) is not None
        )
        # Any other reason is an error of TLS, whose text says what is wrong.
        self.reply.errback(SilentCloseError() if closed_silently else reason)
