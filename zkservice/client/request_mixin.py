"""Make a request of a method's arguments, and send it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail

from zkservice.client.calls import Call, call_for
from zkservice.errors import UnwritableError, ZooKeeperError
from zkservice.wire.jute import encode_fields
from zkservice.wire.paths import Chroot
from zkservice.znodes import validate


class RequestMixin:
    """What the groups of operations share: chroot, encoding, sending."""

    _chroot: Chroot

    def _submit(self, call: Call, timeout: float | None) -> Deferred[Any]:
        """Send a call and return its Deferred.

        Args:
            call: the request.
            timeout: seconds to wait for the reply; None for no limit.
        """
        raise NotImplementedError

    def _server_path(self, path: str) -> str:
        """The path with the chroot before it, as the server knows it.

        Raises:
            InvalidPathError: the path is invalid.
        """
        return self._chroot.add(validate(path))

    def _send_for_path(
        self,
        record_type: type[Any],
        path: str,
        other_fields: tuple[Any, ...],
        read: Callable[[bytes], Any],
        timeout: float | None,
        call_type: type[Call] = Call,
    ) -> Deferred[Any]:
        """Send a request whose first field is the path.

        Args:
            record_type: of the request.
            path: the client's.
            other_fields: the values of the record's fields after the path.
            read: decodes the reply.
            timeout: seconds to wait for the reply; None for no limit.
            call_type: decides what an error of the server means.
        """
        try:
            payload = encode_fields(record_type, self._chroot.add(validate(path)), *other_fields)
        except ZooKeeperError:
            return fail()
        return self._submit(call_type(record_type.opcode, path, payload, read), timeout)

    def _send_record(
        self, record: Any, path: str | None, read: Callable[[bytes], Any], timeout: float | None
    ) -> Deferred[Any]:
        """Send a request whose record is complete; ``path`` is for its errors."""
        try:
            call = call_for(record, path, read)
        except UnwritableError:
            return fail()
        return self._submit(call, timeout)
