"""A request and the Deferred for its reply."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred

from zkservice.errors import NoNodeError, ServerError
from zkservice.wire.jute import encode
from zkservice.wire.records import OpCode

#: Bytes of the reply header, where the body begins.
REPLY_HEADER_SIZE: Final = 16

#: Decodes a reply, a complete frame with its header, into the value of the call.
Read = Callable[[bytes], Any]

#: The length from which a `SendQueue` looks for cancelled calls to remove.
_SWEEP_SIZE: Final = 64


class Call:
    """One request, from the call of a method until its reply.

    ``payload`` is the record's bytes; ``xid`` is 0 until the request is sent.  ``deferred`` is None
    once it has fired or was cancelled.  A cancelled call that was sent stays in the queue of
    pending requests, because its reply will still arrive.
    """

    __slots__ = ("deferred", "opcode", "path", "payload", "read", "sent", "xid")

    def __init__(self, opcode: int, path: str | None, payload: bytes, read: Read) -> None:
        self.opcode = opcode
        self.path = path
        self.payload = payload
        self.read = read
        self.xid = 0
        self.sent = 0.0  # seconds of the reactor's clock
        self.deferred: Deferred[Any] | None = Deferred(self.cancelled)

    def cancelled(self, deferred: Deferred[Any]) -> None:
        """Mark the call as unwanted; called when its Deferred is cancelled."""
        self.deferred = None
        self.payload = b""

    def succeed(self, reply: bytes) -> None:
        """Fire with the value of a reply, a complete frame with its header."""
        deferred, self.deferred = self.deferred, None
        if deferred is None:
            return
        try:
            value = self.read(reply)
        except Exception as error:  # noqa: BLE001, whatever the reply is, the call must not hang
            deferred.errback(error)
        else:
            deferred.callback(value)

    def refuse(self, code: int) -> None:
        """Fail with the error for the server's error code."""
        self.fail(ServerError.from_code(code, self.path))

    def fail(self, error: Exception) -> None:
        """Fail with an error: that of the reply, or because there will be no reply."""
        deferred, self.deferred = self.deferred, None
        if deferred is not None:
            deferred.errback(error)


class OptionalCall(Call):
    """A call that fires with None if the node does not exist, instead of failing."""

    __slots__ = ()

    def refuse(self, code: int) -> None:
        """Fire with None if the node is missing."""
        if code != _NO_NODE:
            super().refuse(code)
            return
        deferred, self.deferred = self.deferred, None
        if deferred is not None:
            deferred.callback(None)


class CreationCall(Call):
    """A call for which the error "no such node" is about the node's parent."""

    __slots__ = ()

    def refuse(self, code: int) -> None:
        """Make the error about the parent if the code is "no such node"."""
        if code == _NO_NODE:
            self.fail(NoNodeError(self.path, "the parent of this znode does not exist"))
        else:
            super().refuse(code)


_NO_NODE: Final = NoNodeError.code
_CREATIONS: Final = (OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL)


def call_for(record: Any, path: str | None, read: Read) -> Call:
    """A call with a record as its request; ``read`` decodes the reply."""
    kind = CreationCall if record.opcode in _CREATIONS else Call
    return kind(record.opcode, path, encode(record), read)


def read_nothing(_: bytes) -> None:
    """Read a reply that has no body."""


class SendQueue:
    """Calls that have not been sent, in the order in which they were made.

    A cancelled call stays in the queue without its payload.  From time to time such calls are
    removed, so that calls which time out without a connection do not accumulate.
    """

    def __init__(self) -> None:
        self.calls: deque[Call] = deque()
        self._sweep_at = _SWEEP_SIZE

    def __len__(self) -> int:
        return len(self.calls)

    def append(self, call: Call) -> None:
        """Put a call at the end."""
        self.calls.append(call)
        if len(self.calls) >= self._sweep_at:
            self._sweep()

    def _sweep(self) -> None:
        self.calls = deque(call for call in self.calls if call.deferred is not None)
        # Twice the length that is left, so that the sweeps' cost per call stays constant.
        self._sweep_at = max(_SWEEP_SIZE, 2 * len(self.calls))

    def take_all(self) -> list[Call]:
        """Remove all calls and return those that were not cancelled."""
        calls = [call for call in self.calls if call.deferred is not None]
        self.calls.clear()
        self._sweep_at = _SWEEP_SIZE
        return calls
