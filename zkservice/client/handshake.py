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
    """A server's ConnectResponse, and the connection it came on."""

    protocol: ZooKeeperProtocol
    response: ConnectResponse
    asked: float  # when the request was sent, by the given clock


def endpoint(
    reactor: Any, address: Address, ip: str, timeout: float, tls: TLSCreator | None
) -> IStreamClientEndpoint:
    """The endpoint for one IP address of a server; a certificate must be for the server's name."""
    tcp = TCP6ClientEndpoint if isIPv6Address(ip) else TCP4ClientEndpoint
    plain: IStreamClientEndpoint = tcp(reactor, ip, address.port, timeout=timeout)
    return plain if tls is None else wrapClientTLS(tls(address.host), plain)


async def handshake(
    where: IStreamClientEndpoint, request: ConnectRequest, limit: int, clock: Callable[[], float]
) -> HandshakeResult:
    """Connect and send the ConnectRequest.

    Cancelling it closes the connection at once.

    Raises:
        SilentCloseError: the server closed the connection.
        ProtocolError: its reply is not a ConnectResponse.
        Exception: whatever the endpoint fails with.
    """
    protocol: Any = await where.connect(_ProtocolFactory(limit))
    protocol.receiver = reply = _ReplyWaiter()
    try:
        asked = clock()
        protocol.write(frame(encode(request)))
        return HandshakeResult(protocol, decode(ConnectResponse, await reply.came), asked)
    except BaseException:
        protocol.abort()
        raise


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
        self.came: Deferred[bytes] = Deferred(lambda _: None)

    @override
    def frame_received(self, payload: bytes) -> None:
        if not self.came.called:
            self.came.callback(payload)

    @override
    def connection_lost(self, reason: Failure) -> None:
        if self.came.called:
            return
        silent = reason.check(ConnectionDone, ConnectionLost, ConnectionAborted) is not None
        # Any other reason is an error of TLS, which says what is wrong.
        self.came.errback(SilentCloseError() if silent else reason)
