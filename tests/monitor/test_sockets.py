"""Tests of the monitor over real connections, for what a transport in memory cannot show."""

from __future__ import annotations

from twisted.internet import reactor as installed  # noqa: TID251  # the one that trial runs
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from typing_extensions import override
from zope.interface import implementer

from zkservice.monitor import MonitorFactory


@implementer(IHalfCloseableProtocol)
class Netcat(Protocol):
    """Send, close the sending side, and collect what comes back, as ``nc -N`` does."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._received = b""
        self.done: Deferred[bytes] = Deferred()

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._text)
        self.transport.loseWriteConnection()  # type: ignore[attr-defined]

    @override
    def dataReceived(self, data: bytes) -> None:
        self._received += data

    def readConnectionLost(self) -> None:  # noqa: N802  # IHalfCloseableProtocol's name
        """The other side has closed."""
        assert self.transport is not None
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:  # noqa: N802  # IHalfCloseableProtocol's name
        """Our side is closed."""

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback(self._received)


class NetcatTests(TestCase):
    """``printf ... | nc -N``."""

    timeout = 300

    async def ask(self, text: bytes) -> bytes:
        """All that comes back from a monitor whose ``later`` takes a turn of the reactor."""
        reactor = installed

        def later(words: list[str]) -> Deferred[str]:
            answer: Deferred[str] = Deferred()
            reactor.callLater(0.01, answer.callback, " ".join(words))
            return answer

        factory = MonitorFactory({"now": " ".join, "later": later}, clock=reactor)
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        try:
            client = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
            netcat: Netcat = await connectProtocol(client, Netcat(text))
            return await netcat.done
        finally:
            await port.stopListening()

    async def test_a_reply_survives_a_half_closed_connection(self) -> None:
        """An answer is not lost because the user has closed its side, now or later."""
        for text, answer in [
            (b"now a b\n", b"a b\n"),
            (b"later a b\n", b"a b\n"),
            (b"now a b", b"a b\n"),
            (b"later a b", b"a b\n"),
            (b"interactive\nlater a\nnow b\nlater c", b"> a\n> b\n> c\n"),
            (b"", b""),
        ]:
            self.assertEqual(await self.ask(text), answer, text)
