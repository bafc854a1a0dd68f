"""The private channel between a parent and one worker: messages over a pair of sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.interfaces import IFileDescriptorReceiver, IPushProducer, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from zkservice.deferreds import time_limit
from zkservice.errors import MessageError, WorkerSilentError, WorkerUnreachableError
from zkservice.supervisor.messages import MAX_MESSAGE, Ask, LogLine, Message, Reply, decode, encode
from zkservice.supervisor.rate import Rate

__all__ = ["MAX_OFFERED", "Answer", "Channel", "ChannelOwner", "adopt_socket"]

#: Returns the reply to a request: called with the request's name and its arguments.  The reply
#: is a value that JSON can express.
Answer = Callable[[str, list[Any]], Any]

#: What the other side may send in a second, as `_cost` counts it.
_MAX_COST_A_SECOND: Final = 10_000
#: What `Channel.offer` sends in a second at most, well below what the other side accepts.
MAX_OFFERED: Final = 4_000
#: A log entry costs more than another message, because the parent writes it to a file.
_LOG_COST: Final = 2
#: Requests of the other side that are worked on at the same time.
_MAX_REQUESTS: Final = 64
#: Characters of a request's name, and of the reason for its failure, that are logged or sent.
_MAX_NAME: Final = 80
_MAX_ERROR: Final = 1000
#: Failed requests that are logged in a second.
_MAX_FAILURES: Final = 10


class ChannelOwner(Protocol):
    """The owner of one end of a channel."""

    def message_received(self, message: Message) -> None:
        """Handle a message that is neither a request nor a reply.

        Raises:
            MessageError: the other side must not send this message.
        """
        ...

    def channel_misused(self, reason: str) -> None:
        """Handle an invalid message, or too many of them; the channel is closed."""
        ...

    def channel_lost(self) -> None:
        """Handle that the other side has closed the channel or has ended."""
        ...


def _cost(message: Message, size: int) -> int:
    """The cost of reading a message of so many bytes, counted against the sender's limit."""
    return (_LOG_COST if isinstance(message, LogLine) else 1) + (size >> 10)


class _SingleProtocolFactory(Factory):
    """A factory that returns one existing protocol."""

    noisy = False

    def __init__(self, protocol: TwistedProtocol) -> None:
        self._protocol = protocol

    @override
    def buildProtocol(self, addr: Any) -> TwistedProtocol:
        return self._protocol


def adopt_socket(reactor: Any, end: socket.socket, protocol: Any) -> None:
    """Connect an existing protocol to an open socket; the socket is taken over."""
    end.setblocking(False)
    with closing(end):  # the reactor takes a descriptor of its own
        reactor.adoptStreamConnection(end.fileno(), end.family, _SingleProtocolFactory(protocol))


@implementer(IPushProducer, IFileDescriptorReceiver)
class Channel(Int32StringReceiver):
    """Carries messages both ways, and matches replies with requests.

    Args:
        owner: receives the messages.
        answer: returns the reply to a request of the other side, or a Deferred for it.
        clock: tells the time.
    """

    MAX_LENGTH = MAX_MESSAGE
    _log = Logger()

    def __init__(self, owner: ChannelOwner, answer: Answer, clock: IReactorTime) -> None:
        self._owner = owner
        self._answer = answer
        self._clock = clock
        self._pending: dict[int, Deferred[Any]] = {}  # the requests of this side, by number
        self._number = 0  # of the latest request
        self._open = False
        self._blocked = False  # whether the other side does not read
        self._rate = Rate(clock, _MAX_COST_A_SECOND)
        self._requests_in_progress = 0  # of the other side
        self._failure_log_rate = Rate(clock, _MAX_FAILURES)

    def adopt(self, reactor: Any, end: socket.socket) -> None:
        """Start on one end of a pair of sockets, which is taken over."""
        adopt_socket(reactor, end, self)

    def send(self, message: Message) -> None:
        """Send a message; without a connection it is dropped."""
        if self._open:
            self.sendString(encode(message))

    def offer(self, message: Message, within: Rate) -> bool:
        """Send a message that may be dropped; return whether it was sent.

        It is dropped if the other side does not read, or if the rate is exceeded.
        """
        data = encode(message)
        if self._blocked or not self._open or not within.spend(_cost(message, len(data))):
            return False
        self.sendString(data)
        return True

    def ask(self, what: str, *arguments: Any, timeout: float) -> Deferred[Any]:
        """Send a request to the other side.

        Args:
            what: the request's name.
            arguments: values that JSON can express.
            timeout: seconds.

        Fails with:
            WorkerSilentError: the process does not read, or does not reply in time.
            WorkerUnreachableError: it has gone, or refuses the request.
        """
        if not self._open:
            return fail(WorkerUnreachableError("the process has gone"))
        if self._blocked:
            return fail(WorkerSilentError("the process does not read"))
        self._number += 1
        number = self._number
        answer: Deferred[Any] = Deferred(lambda _: self._forget(number))
        self._pending[number] = answer
        self.send(Ask(number, what, list(arguments)))
        return time_limit(
            answer,
            timeout,
            self._clock,
            lambda seconds: WorkerSilentError(f"no reply for {seconds} s"),
        )

    def close(self) -> None:
        """Send buffered messages, and close."""
        if self._open:
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    def abort(self) -> None:
        """Close at once: buffered messages are not sent, and nothing more is read."""
        self.paused = True  # do not parse what has been received already
        if self._open:
            self._transport.abortConnection()

    @property
    def _transport(self) -> Any:
        return self.transport

    # -- what the transport calls --

    @override
    def connectionMade(self) -> None:
        self._open = True
        self._transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        """Drop what may be dropped: the other side reads too slowly, or not at all."""
        self._blocked = True

    def resumeProducing(self) -> None:
        """The other side reads again."""
        self._blocked = False

    def stopProducing(self) -> None:
        """Do nothing: `connectionLost` follows."""

    @override
    def stringReceived(self, string: bytes) -> None:
        try:
            message = decode(string)
            if not self._rate.spend(_cost(message, len(string))):
                raise MessageError("too many messages in a second")
            self._dispatch(message)
        except MessageError as error:
            self._misused(str(error))

    @override
    def lengthLimitExceeded(self, length: int) -> None:
        self._misused(f"a message of {length} bytes")

    def fileDescriptorReceived(self, descriptor: int) -> None:  # noqa: N802
        """Close the channel: no message comes with a descriptor."""
        os.close(descriptor)
        self._misused("a file descriptor")

    def _misused(self, reason: str) -> None:
        self.abort()
        self._owner.channel_misused(reason)

    def _dispatch(self, message: Message) -> None:
        if isinstance(message, Ask):
            self._handle_request(message)
        elif isinstance(message, Reply):
            self._reply_received(message)
        else:
            self._owner.message_received(message)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._open = False
        pending, self._pending = self._pending, {}
        for answer in pending.values():
            if not answer.called:
                answer.errback(WorkerUnreachableError("the process has gone"))
        self._owner.channel_lost()

    # -- requests --

    def _forget(self, number: int) -> None:
        self._pending.pop(number, None)

    def _reply_received(self, reply: Reply) -> None:
        answer = self._pending.pop(reply.number, None)
        if answer is None or answer.called:
            return  # it has timed out, or was cancelled
        if reply.error:
            answer.errback(WorkerUnreachableError(reply.error))
        else:
            answer.callback(reply.value)

    def _handle_request(self, ask: Ask) -> None:
        if self._requests_in_progress >= _MAX_REQUESTS:
            self._send_reply(Reply(ask.number, error="too many requests at a time"))
            return
        self._requests_in_progress += 1
        replied = maybeDeferred(self._answer, ask.what, ask.arguments)
        replied.addCallback(lambda value: self._send_reply(Reply(ask.number, value)))
        replied.addErrback(self._request_failed, ask)

        def done(_: object) -> None:
            self._requests_in_progress -= 1

        replied.addCallback(done)

    def _request_failed(self, failure: Failure, ask: Ask) -> None:
        if failure.check(MessageError):
            self._misused(str(failure.value))
            return
        what = ask.what[:_MAX_NAME]
        if self._failure_log_rate.spend(1):
            self._log.failure("the request {what} failed", failure, what=what)
        self._send_reply(Reply(ask.number, error=f"{what} failed: {failure.value}"[:_MAX_ERROR]))

    def _send_reply(self, reply: Reply) -> None:
        """Send a reply, unless the other side does not read: the reply would stay in memory."""
        if not self._blocked:
            self.send(reply)
