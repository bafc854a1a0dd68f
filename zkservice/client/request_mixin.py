"""Make a request of a method's arguments, and send it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail

from zkservice.client.calls import Call, call_for
from zkservice.errors import UnwritableError, ZooKeeperError
from zkservice.wire.jute import encode_fields
from zkservice.wire.paths import Chroot
from zkservice.znodes import validate


class Send(Protocol):
    """Sends a call; ``timeout`` is in seconds, None for no limit."""

    def __call__(self, call: Call, timeout: float | None) -> Deferred[Any]:
        """Returns the call's Deferred."""


class RequestMixin:
    """What the groups of operations share: chroot, encoding, sending."""

    _chroot: Chroot

    def _submit(self, call: Call, timeout: float | None) -> Deferred[Any]:
        """Send a call."""
        raise NotImplementedError

    def _at(self, path: str) -> str:
        """The server's path.

        Raises:
            InvalidPathError: the path is invalid.
        """
        return self._chroot.add(validate(path))

    def _ask(
        self,
        record_type: type[Any],
        path: str,
        rest: tuple[Any, ...],
        read: Callable[[bytes], Any],
        timeout: float | None,
        call_type: type[Call] = Call,
    ) -> Deferred[Any]:
        """Send a request whose first field is the path."""
        try:
            payload = encode_fields(record_type, self._chroot.add(validate(path)), *rest)
        except ZooKeeperError:
            return fail()
        return self._submit(call_type(record_type.opcode, path, payload, read), timeout)

    def _send(
        self, record: Any, path: str | None, read: Callable[[bytes], Any], timeout: float | None
    ) -> Deferred[Any]:
        """Send a request from a finished record."""
        try:
            call = call_for(record, path, read)
        except UnwritableError:
            return fail()
        return self._submit(call, timeout)
