"""Prepare a new connection for requests: SASL, then credentials, then watches.

The order matters: a server sends watch events only for nodes that the connection may read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.internet.defer import Deferred, DeferredList, FirstError
from twisted.python.failure import Failure

from zkservice.client.calls import call_for, read_nothing
from zkservice.client.connection import Connection
from zkservice.client.sasl import DigestMD5, negotiate
from zkservice.client.watch_manager import set_watches
from zkservice.client.watchers import Watcher
from zkservice.deferreds import Waiters
from zkservice.errors import AuthFailedError
from zkservice.wire.jute import encode
from zkservice.wire.records import AuthPacket
from zkservice.wire.watches import ClientWatchTable


class AuthCredential:
    """A credential for one scheme, and those that wait until a server has accepted it.

    Args:
        scheme: such as ``digest``.
        credential: for ``digest`` it is ``user:password``.

    Raises:
        UnwritableError: the scheme is not text, or the credential is not bytes.
    """

    def __init__(self, scheme: str, credential: bytes) -> None:
        self._scheme = scheme
        self._packet = encode(AuthPacket(0, scheme, credential))
        self._waiters: Waiters[None] = Waiters()

    def wait(self) -> Deferred[None]:
        """Fires when a server has accepted it."""
        return self._waiters.add()

    @property
    def awaited(self) -> bool:
        """Whether something waits for a server to accept it."""
        return len(self._waiters) > 0

    def accepted(self) -> None:
        """Fire the waiters: a server has accepted it."""
        self._waiters.fire(None)

    def fail(self, error: Exception) -> None:
        """Fail the waiters: the client connects no more."""
        self._waiters.fail(error)

    def present(self, connection: Connection) -> Deferred[None]:
        """Send it on a connection; fires when the server has accepted it."""
        reply = connection.authenticate(self._packet)
        return reply.addCallbacks(lambda _: self.accepted(), self._refused)

    def _refused(self, failure: Failure) -> Failure:
        """Name the scheme: a client can have several credentials."""
        if failure.check(AuthFailedError):
            problem = f"{AuthFailedError.summary} of scheme {self._scheme!r}"
            return Failure(AuthFailedError(None, problem))
        return failure


class AuthCredentials:
    """All credentials of a client, in the order in which they were added."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], AuthCredential] = {}

    def add(self, scheme: str, credential: bytes) -> AuthCredential:
        """Remember one for this and every later connection."""
        return self._known.setdefault((scheme, credential), AuthCredential(scheme, credential))

    def fail_all(self, make_error: Callable[[None], Exception]) -> None:
        """Fail the waiters of all: the client connects no more."""
        for credential in self:
            credential.fail(make_error(None))

    def __iter__(self) -> Iterator[AuthCredential]:
        return iter(list(self._known.values()))


async def prepare(
    connection: Connection,
    sasl: DigestMD5 | None,
    credentials: AuthCredentials,
    table: ClientWatchTable[Watcher],
    last_zxid: int,
) -> None:
    """Authenticate a connection and set the session's watches again.

    Args:
        connection: on which a server has just accepted the session.
        sasl: the user, if the client authenticates with SASL.
        credentials: to present to the server.
        table: the watches to set again.
        last_zxid: the last change that the session has seen; the server sends the watch
            events of all changes since then.

    Raises:
        AuthFailedError: the server refuses a credential.
        Exception: the connection was lost meanwhile.
    """
    if sasl is not None:
        await negotiate(connection, sasl)
    replies = [credential.present(connection) for credential in credentials]
    for paths in table.chunks():
        record = set_watches(last_zxid, paths)
        replies.append(connection.call(call_for(record, None, read_nothing)))
    try:
        await DeferredList(replies, fireOnOneErrback=True, consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()
