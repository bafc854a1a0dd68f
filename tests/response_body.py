"""The body of a response of Twisted's HTTP client."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import IResponse
from typing_extensions import override


class BodyReader(Protocol):
    """Collects a body; Twisted's readBody warns of the transports of its own agent."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred()
        self._parts: list[bytes] = []

    @override
    def dataReceived(self, data: bytes) -> None:
        self._parts.append(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ResponseDone):
            self.done.callback(b"".join(self._parts))
        else:
            self.done.errback(reason)


def read_body(response: IResponse) -> Deferred[bytes]:
    """The whole body."""
    reader = BodyReader()
    response.deliverBody(reader)
    return reader.done
