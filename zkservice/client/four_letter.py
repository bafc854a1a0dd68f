"""Four-letter words: commands to a server that need no session (ServerCnxn.java)."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.client.handshake import TLSCreator, endpoint
from zkservice.client.hosts import resolve
from zkservice.deferreds import time_limit
from zkservice.errors import ConnectTimeoutError, ProtocolError
from zkservice.wire.hosts import Address, parse_hosts

#: Bytes of a reply that are kept, the rest is dropped.  Even a ``wchp`` of many watches is shorter.
MAX_REPLY_SIZE: Final = 16 * 1024 * 1024


def four_letter_word(
    host: str,
    word: str | bytes,
    *,
    timeout: float = 5.0,
    tls: TLSCreator | None = None,
    reactor: Any = None,
) -> Deferred[str]:
    """Send a four-letter word to a server.

    Args:
        host: ``host:port`` of one server.
        word: ``ruok``, ``srvr``, ``mntr``, ``isro``, ...; ``4lw.commands.whitelist``
            in a server's configuration says which of them it supports.
        timeout: seconds for all of it.
        tls: as for a client.
        reactor: the installed one if None.

    Returns:
        Fires with the reply.  Cancelling it closes the connection.

    Fails with:
        ValueError: the word has not four letters, or ``host`` is not one server.
        ConnectTimeoutError: the reply did not come in time.
        ProtocolError: the server closed the connection without a reply: it does not know the
            word.
        Exception: the server cannot be reached.
    """
    if reactor is None:
        from twisted.internet import reactor  # noqa: TID251
    if isinstance(word, bytes):
        word = word.decode("ascii", "replace")

    def too_late(seconds: float) -> ConnectTimeoutError:
        return ConnectTimeoutError(None, f"{host} did not reply to {word!r} within {seconds:g} s")

    reply = Deferred.fromCoroutine(_ask(reactor, host, word, timeout, tls))
    return time_limit(reply, timeout, reactor, too_late)


async def _ask(reactor: Any, host: str, word: str, timeout: float, tls: TLSCreator | None) -> str:
    if not isinstance(word, str) or len(word) != 4 or not word.isascii():
        raise ValueError(f"expected a word of four letters, got {word!r}")
    addresses, _ = parse_hosts(host)
    if len(addresses) != 1:
        raise ValueError(f"expected one server, got {host!r}")
    reply = await ask(reactor, addresses[0], word, timeout, tls)
    if not reply:
        raise ProtocolError(None, f"{host} closed the connection without a reply to {word!r}")
    return reply


async def ask(
    reactor: Any, address: Address, word: str, timeout: float, tls: TLSCreator | None
) -> str:
    """Send a word and return all text until the server closes the connection.

    The addresses behind a name are tried in turn, each for its share of the time-out.

    Raises:
        Exception: no address can be connected to; it is the failure of the last one.
    """
    hosts = await resolve(reactor, address.host)
    failure: Exception | None = None
    for ip in hosts:
        target = endpoint(reactor, address, ip, timeout / len(hosts), tls)
        try:
            return await _exchange(target, word)
        except (CancelledError, ConnectingCancelledError):
            raise
        except Exception as error:  # noqa: BLE001, an endpoint may fail with anything
            failure = error
    assert failure is not None  # resolve() fails rather than return nothing
    raise failure


async def ask_or_none(
    reactor: Any, address: Address, word: str, timeout: float, tls: TLSCreator | None
) -> str | None:
    """As `ask`, but returns None if the server cannot be reached or does not reply in time.

    Raises:
        CancelledError: cancelled; the connection is closed.
    """
    reply = Deferred.fromCoroutine(ask(reactor, address, word, timeout, tls))
    try:
        return await time_limit(reply, timeout, reactor, lambda _: ConnectTimeoutError())
    except CancelledError:
        raise
    except Exception:  # noqa: BLE001, an endpoint may fail with anything
        return None


async def _exchange(target: IStreamClientEndpoint, word: str) -> str:
    protocol: Any = await target.connect(_ReplyReaderFactory())
    try:
        protocol.transport.write(word.encode("ascii"))
        reply: str = await protocol.reply
        return reply
    finally:
        protocol.transport.abortConnection()


class _ReplyReader(Protocol):
    """Gathers all bytes until the connection is closed, then fires `reply` with their text."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self.reply: Deferred[str] = Deferred(lambda _: None)

    @override
    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= MAX_REPLY_SIZE:
            self._chunks.append(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.reply.called:
            self.reply.callback(b"".join(self._chunks).decode("utf-8", "replace"))


class _ReplyReaderFactory(Factory):
    """Makes the protocol that an endpoint connects."""

    noisy = False

    @override
    def buildProtocol(self, addr: object) -> _ReplyReader:
        return _ReplyReader()
