"""The open connections of a server: their limit, and draining."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zkservice.deferreds import Alarm, Waiters
from zkservice.web.exchange import Exchange

__all__ = ["Connections", "Drainable", "descriptor_limit"]

#: Connections over the limit that get a 503 at the same time.
_MAX_REFUSED: Final = 32
#: Descriptors that are not for connections; the application has some 70 of them.
_RESERVED: Final = 128


def descriptor_limit() -> int:
    """The number of connections that the limit of open files allows.

    The others are for the application, the service itself and the connections over the limit.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(files - _RESERVED, files // 4, 1)


class Drainable(Protocol):
    """The part of a connection that draining uses."""

    @property
    def serving(self) -> bool:
        """Whether a request is in service."""
        ...

    @property
    def exchange(self) -> Exchange | None:
        """The request in service, or the one whose response is not all sent."""
        ...

    def close_if_idle(self) -> None:
        """Close the connection if neither a request nor a response is under way."""
        ...

    def abort(self) -> None:
        """Cut the connection, whatever is under way."""
        ...


class Connections:
    """All open connections.

    Args:
        clock: for the time-outs of draining.
        limit: the maximal number of connections.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, limit: int) -> None:
        self._clock = clock
        self.limit = limit  #: the maximal number of connections
        self._limit_logged = False
        # A dict serves as a set that remembers its order.
        self._open: dict[Drainable, None] = {}
        self._drained: Waiters[int] = Waiters()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: Drainable) -> bool:
        """Add a connection; return False if it is over the limit and must be refused."""
        self._open[connection] = None
        if len(self._open) <= self.limit:
            return True
        if not self._limit_logged:
            self._limit_logged = True
            self._log.warn("{limit} connections are open; further ones get 503", limit=self.limit)
        return False

    @property
    def crowded(self) -> bool:
        """Whether there are too many connections even to send a 503 to a new one."""
        return len(self._open) > self.limit + _MAX_REFUSED

    def discard(self, connection: Drainable) -> None:
        """Remove a connection that is closed."""
        self._open.pop(connection, None)
        if self._limit_logged and len(self._open) <= self.limit // 2:
            self._limit_logged = False
            self._log.info("half of the connections are free again")
        if not self._open:
            self._drained.fire(0)

    @property
    def serving(self) -> int:
        """The number of connections with a request in service."""
        return sum(connection.serving for connection in self._open)

    def exchanges(self) -> Iterator[Exchange]:
        """The requests in service, and those whose responses are not all sent."""
        for connection in self._open:
            exchange = connection.exchange
            if exchange is not None:
                yield exchange

    def drain(self, linger: float, timeout: float) -> Deferred[int]:
        """Close each connection once it is idle.

        Args:
            linger: seconds for which idle connections may stay and send one more request.
            timeout: seconds after which the remaining connections are cut off.

        Returns:
            Fires with the number of requests that were cut off.
        """
        drained = self._drained.add()
        linger_over = Alarm(self._clock, self.close_idle)
        linger_over.set(min(linger, timeout))
        time_out = Alarm(self._clock, self._abort_all)
        time_out.set(timeout)

        def cancel_alarms(result: int) -> int:
            linger_over.cancel()
            time_out.cancel()
            return result

        drained.addBoth(cancel_alarms)
        if not self._open:
            self._drained.fire(0)
        return drained

    def close_idle(self) -> None:
        """Close the connections without a request or a response under way."""
        for connection in list(self._open):
            connection.close_if_idle()

    def _abort_all(self) -> None:
        cut_off = 0
        for connection in list(self._open):
            cut_off += connection.serving
            connection.abort()
        self._drained.fire(cut_off)
