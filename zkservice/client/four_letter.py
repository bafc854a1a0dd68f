"""Four-letter words: questions to a server that need no session (ServerCnxn.java)."""

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

#: Bytes of an answer that are kept; the longest, of a server with many watches, is less.
MAX_ANSWER: Final = 16 * 1024 * 1024


def four_letter_word(
    host: str,
    word: str | bytes,
    *,
    timeout: float = 5.0,
    tls: TLSCreator | None = None,
    reactor: Any = None,
) -> Deferred[str]:
    """Ask a server something.

    Args:
        host: ``host:port`` of one server.
        word: ``ruok``, ``srvr``, ``mntr``, ``isro``, ...; which of them a server answers is
            its configuration (``4lw.commands.whitelist``), and what it says to others, too.
        timeout: seconds for all of it.
        tls: as for a client.
        reactor: the installed one if None.

    Returns:
        Fires with the answer.  Cancelling it closes the connection.

    Fails with:
        ValueError: it has not four letters, or this is no single host.
        ConnectTimeoutError: the answer did not come in time.
        ProtocolError: the server hung up without an answer: it does not know the word.
        Exception: the server cannot be reached.
    """
    if reactor is None:
        from twisted.internet import reactor  # noqa: TID251
    if isinstance(word, bytes):
        word = word.decode("ascii", "replace")

    def too_late(seconds: float) -> ConnectTimeoutError:
        return ConnectTimeoutError(None, f"{host} did not answer {word!r} within {seconds:g} s")

    asking = Deferred.fromCoroutine(_ask(reactor, host, word, timeout, tls))
    return time_limit(asking, timeout, reactor, too_late)


async def _ask(reactor: Any, host: str, word: str, timeout: float, tls: TLSCreator | None) -> str:
    if not isinstance(word, str) or len(word) != 4 or not word.isascii():
        raise ValueError(f"{word!r} is no word of four letters")
    addresses, _ = parse_hosts(host)
    if len(addresses) != 1:
        raise ValueError(f"{host!r} is not one server")
    answer = await ask(reactor, addresses[0], word, timeout, tls)
    if not answer:
        raise ProtocolError(None, f"{host} hung up instead of an answer to {word!r}")
    return answer


async def ask(
    reactor: Any, address: Address, word: str, timeout: float, tls: TLSCreator | None
) -> str:
    """Say a word and listen until the server hangs up; nothing if it says nothing.

    All addresses behind a name are tried, each for its share of the time-out.

    Raises:
        Exception: none lets us in; it is the failure of the last one.
    """
    hosts = await resolve(reactor, address.host)
    for ip in hosts[:-1]:
        try:
            return await _ask_at(endpoint(reactor, address, ip, timeout / len(hosts), tls), word)
        except (CancelledError, ConnectingCancelledError):
            raise
        except Exception:  # noqa: BLE001, an endpoint may fail with anything
            continue
    return await _ask_at(endpoint(reactor, address, hosts[-1], timeout / len(hosts), tls), word)


async def ask_or_none(
    reactor: Any, address: Address, word: str, timeout: float, tls: TLSCreator | None
) -> str | None:
    """As `ask`, but returns None if the server cannot be reached or does not reply in time.

    Raises:
        CancelledError: cancelled; the connection is closed.
    """
    asking = Deferred.fromCoroutine(ask(reactor, address, word, timeout, tls))
    try:
        return await time_limit(asking, timeout, reactor, lambda _: ConnectTimeoutError())
    except CancelledError:
        raise
    except Exception:  # noqa: BLE001, an endpoint may fail with anything
        return None


async def _ask_at(where: IStreamClientEndpoint, word: str) -> str:
    protocol: Any = await where.connect(_AskingFactory())
    try:
        protocol.transport.write(word.encode("ascii"))
        answer: str = await protocol.answer
        return answer
    finally:
        protocol.transport.abortConnection()


class _Asking(Protocol):
    """Gather all that comes until the end."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self.answer: Deferred[str] = Deferred(lambda _: None)

    @override
    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= MAX_ANSWER:
            self._chunks.append(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answer.called:
            self.answer.callback(b"".join(self._chunks).decode("utf-8", "replace"))


class _AskingFactory(Factory):
    """Makes one protocol; endpoints want it so."""

    noisy = False

    @override
    def buildProtocol(self, addr: object) -> _Asking:
        return _Asking()
