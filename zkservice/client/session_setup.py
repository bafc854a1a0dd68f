"""What a new connection needs before requests may use it: SASL, identities, watches.

In this order, because a server filters watch events by what the connection may read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.internet.defer import Deferred, DeferredList, FirstError

from zkservice.client.calls import call_for, nothing
from zkservice.client.connection import Connection
from zkservice.client.sasl import DigestMD5, negotiate
from zkservice.client.watching import Watcher, set_watches
from zkservice.deferreds import Waiters
from zkservice.wire.jute import encode
from zkservice.wire.records import AuthPacket
from zkservice.wire.watches import ClientWatchTable


class Identity:
    """Credentials for one scheme, and those who wait until a server has taken them.

    Raises:
        UnwritableError: they are no text and bytes.
    """

    def __init__(self, scheme: str, credential: bytes) -> None:
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
        """A server has accepted it."""
        self._waiters.fire(None)

    def fail(self, error: Exception) -> None:
        """No server will accept it any more."""
        self._waiters.fail(error)

    def present(self, connection: Connection) -> Deferred[None]:
        """Send it."""
        return connection.authenticate(self._packet).addCallback(lambda _: self.accepted())


class Identities:
    """Everything that a connection is to be authenticated as, in the order it was added."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], Identity] = {}

    def add(self, scheme: str, credential: bytes) -> Identity:
        """Remember one for this and every later connection."""
        return self._known.setdefault((scheme, credential), Identity(scheme, credential))

    def fail_all(self, make_error: Callable[[None], Exception]) -> None:
        """None of those that wait will be accepted any more."""
        for identity in self:
            identity.fail(make_error(None))

    def __iter__(self) -> Iterator[Identity]:
        return iter(list(self._known.values()))


async def prepare(
    connection: Connection,
    sasl: DigestMD5 | None,
    identities: Identities,
    table: ClientWatchTable[Watcher],
    last_zxid: int,
) -> None:
    """Make a connection what the one before it was.

    Args:
        connection: a server has just accepted our session on it.
        sasl: who we are, where the server asks for SASL.
        identities: who else we are.
        table: the watches to set again.
        last_zxid: the last change that we had seen before; what changed since then is
            told to the watches by the server.

    Raises:
        AuthFailedError: the server refuses an identity.
        Exception: the connection was lost meanwhile.
    """
    if sasl is not None:
        await negotiate(connection, sasl)
    answers = [identity.present(connection) for identity in identities]
    for paths in table.chunks():
        record = set_watches(last_zxid, paths)
        answers.append(connection.call(call_for(record, None, nothing)))
    try:
        await DeferredList(answers, fireOnOneErrback=True, consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()
