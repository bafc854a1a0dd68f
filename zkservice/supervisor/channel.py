"""The private channel between a parent and one worker: messages over a pair of sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from zkservice.deferreds import time_limit
from zkservice.errors import MessageError, WorkerUnreachableError
from zkservice.supervisor.messages import MAX_MESSAGE, Ask, Message, Reply, decode, encode

__all__ = ["Answer", "Channel", "Listener"]

#: Answers a question: what was asked, and its arguments, to a value that JSON has.
Answer = Callable[[str, list[Any]], Any]


class Listener(Protocol):
    """The owner of one end of a channel."""

    def message_received(self, message: Message) -> None:
        """A message has come that is neither a request nor a reply."""
        ...

    def channel_lost(self) -> None:
        """The other side has gone."""
        ...


class _Only(Factory):
    """A factory of one protocol that is there already."""

    noisy = False

    def __init__(self, protocol: TwistedProtocol) -> None:
        self._protocol = protocol

    @override
    def buildProtocol(self, addr: Any) -> TwistedProtocol:
        return self._protocol


@implementer(IPushProducer)
class Channel(Int32StringReceiver):
    """Carries messages both ways, and matches replies with requests.

    Args:
        listener: receives the messages.
        answer: returns the reply to a request of the other side, or a Deferred of it.
        clock: tells the time.
    """

    MAX_LENGTH = MAX_MESSAGE
    _log = Logger()

    def __init__(self, listener: Listener, answer: Answer, clock: IReactorTime) -> None:
        self._listener = listener
        self._answer = answer
        self._clock = clock
        self._asked: dict[int, Deferred[Any]] = {}
        self._number = 0
        self._open = False
        self._full = False

    def adopt(self, reactor: Any, end: socket.socket) -> None:
        """Start on one end of a pair of sockets, which is taken over."""
        end.setblocking(False)
        with closing(end):  # the reactor takes a descriptor of its own
            reactor.adoptStreamConnection(end.fileno(), socket.AF_UNIX, _Only(self))

    def send(self, message: Message) -> None:
        """Send a message; without a connection it is dropped."""
        if self._open:
            self.sendString(encode(message))

    def ask(self, what: str, *arguments: Any, timeout: float) -> Deferred[Any]:
        """Send a request to the other side.

        Args:
            what: the request's name.
            arguments: what JSON has.
            timeout: seconds.

        Fails with:
            WorkerUnreachableError: the process has gone, or does not reply in time.
        """
        if not self._open:
            gone: Deferred[Any] = Deferred()
            gone.errback(WorkerUnreachableError("the process has gone"))
            return gone
        self._number += 1
        number = self._number
        answer: Deferred[Any] = Deferred(lambda _: self._forget(number))
        self._asked[number] = answer
        self.send(Ask(number, what, list(arguments)))
        return time_limit(
            answer,
            timeout,
            self._clock,
            lambda seconds: WorkerUnreachableError(f"no answer for {seconds} s"),
        )

    @property
    def full(self) -> bool:
        """Whether the other side does not read, so that only what matters is to be sent."""
        return self._full

    def close(self) -> None:
        """Send what waits, and close."""
        if self._open:
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    @property
    def _transport(self) -> Any:
        return self.transport

    # -- what the transport calls --

    @override
    def connectionMade(self) -> None:
        self._open = True
        self._transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """The other side reads too slowly, or not at all."""
        self._full = True

    def resumeProducing(self) -> None:
        """It has caught up."""
        self._full = False

    def stopProducing(self) -> None:
        """The connection is going; `connectionLost` tells."""

    @override
    def stringReceived(self, string: bytes) -> None:
        try:
            message = decode(string)
        except MessageError as error:
            self._log.error("a message between processes is invalid: {error}", error=error)
            self._transport.abortConnection()
            return
        if isinstance(message, Ask):
            self._reply(message)
        elif isinstance(message, Reply):
            self._answered(message)
        else:
            self._listener.message_received(message)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._open = False
        asked, self._asked = self._asked, {}
        for answer in asked.values():
            if not answer.called:
                answer.errback(WorkerUnreachableError("the process has gone"))
        self._listener.channel_lost()

    # -- requests --

    def _forget(self, number: int) -> None:
        self._asked.pop(number, None)

    def _answered(self, reply: Reply) -> None:
        answer = self._asked.pop(reply.number, None)
        if answer is None or answer.called:
            return  # too late
        if reply.error:
            answer.errback(WorkerUnreachableError(reply.error))
        else:
            answer.callback(reply.value)

    def _reply(self, ask: Ask) -> None:
        answered: Deferred[Any] = Deferred()
        answered.addCallback(lambda _: self._answer(ask.what, ask.arguments))
        answered.addCallback(lambda value: self.send(Reply(ask.number, value)))
        answered.addErrback(self._not_answered, ask)
        answered.callback(None)

    def _not_answered(self, failure: Failure, ask: Ask) -> None:
        self._log.failure("the request {what} failed", failure, what=ask.what)
        self.send(Reply(ask.number, error=f"{ask.what} failed: {failure.value}"))
