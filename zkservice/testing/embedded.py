"""A ZooKeeper server for tests: on a loopback port, in the process, with faults on demand."""

from __future__ import annotations

import os
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorTime
from twisted.internet.task import Clock
from typing_extensions import Self, override
from zope.interface import Interface

from zkservice.embedded import ZooKeeperServer
from zkservice.embedded.server import Statistics
from zkservice.embedded.server_state import NodeView
from zkservice.errors import NotStartedError

#: Seconds.  Short, so that tests that wait for an expiry need not wait long.
TICK_TIME: Final = 0.5


class ITestReactor(IReactorTCP, IReactorTime, Interface):
    """What the server needs of a reactor."""


class EmbeddedZooKeeper:
    """A ZooKeeper server in the process, listening on a loopback port.

    Example, in a `twisted.trial.unittest.TestCase`::

        async def test_it(self):
            zookeeper = EmbeddedZooKeeper()
            await zookeeper.start()
            self.addCleanup(zookeeper.stop)
            ... connect to zookeeper.connection_string ...

    Args:
        reactor: by default the installed one.
        port: by default one that the system picks; it stays the same when the server is
            stopped and started again.
        clock: the source of the server's time, by default the reactor.  With a
            `twisted.internet.task.Clock` time stands still until `advance`, so sessions expire
            when the test wants it, while clients use real sockets.  With a data directory,
            the reply to each change waits for ``advance(0)`` too.
        tick_time: seconds; session time-outs are 2 to 20 ticks.
        options: what `zkservice.embedded.ZooKeeperServer` takes.
    """

    def __init__(
        self,
        reactor: ITestReactor | None = None,
        *,
        port: int = 0,
        clock: IReactorTime | None = None,
        tick_time: float = TICK_TIME,
        data_dir: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor as installed  # noqa: TID251

            reactor = installed  # type: ignore[assignment]
        self._reactor: Any = reactor
        #: The source of the server's time.
        self.clock = clock or cast(IReactorTime, reactor)
        self._port_number = port
        self._port: IListeningPort | None = None
        self._options = {"tick_time": tick_time, "data_dir": data_dir, **options}
        self._server: ZooKeeperServer | None = None

    @property
    def server(self) -> ZooKeeperServer:
        """The server; a new one after each `start`."""
        if self._server is None:
            raise NotStartedError
        return self._server

    @property
    def port(self) -> int:
        """The TCP port; 0 before the first `start`."""
        return self._port_number

    @property
    def connection_string(self) -> str:
        """What clients connect to, ``127.0.0.1:PORT``."""
        if self._port_number == 0:
            raise NotStartedError
        return f"127.0.0.1:{self._port_number}"

    @override
    def __repr__(self) -> str:
        state = ", stopped" if self._port is None else ""
        return f"<EmbeddedZooKeeper 127.0.0.1:{self._port_number}{state}>"

    # -- starting and stopping

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def start(self) -> Deferred[EmbeddedZooKeeper]:
        """Listen.  Fires with this object; fails if the port is taken."""
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> EmbeddedZooKeeper:
        server = ZooKeeperServer(self.clock, **self._options)
        port = self._reactor.listenTCP(self._port_number, server.factory, interface="127.0.0.1")
        self._port, self._port_number = port, port.getHost().port
        self._server = server
        server.start()
        return self

    def stop(self) -> Deferred[None]:
        """Stop listening and close all connections; nothing is left in the reactor.

        Without a data directory, all data is lost: after another `start` clients learn that
        their sessions have expired.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        port, self._port = self._port, None
        server, self._server = self._server, None
        if port is not None:
            stopped: Any = port.stopListening()
            if stopped is not None:  # a Deferred, or None (IListeningPort)
                await stopped
        if server is not None:
            await server.stop()

    # -- faults

    def expire(self, session_id: int) -> bool:
        """Expire a session at once, as if its client was silent; False if it does not exist."""
        return self.server.expire(_session_id(session_id))

    def drop(self, session_id: int) -> bool:
        """Abort a session's connection; the session continues.  False if it has no connection."""
        return self.server.drop(_session_id(session_id))

    def pause(self) -> None:
        """Act like a suspended process: connections stay open, but nothing is read or expires."""
        self.server.pause()

    def resume(self) -> None:
        """Go on after `pause`."""
        self.server.resume()

    def advance(self, seconds: float) -> None:
        """Advance the server's clock, tick by tick, if it has one of its own.

        What clients send is not read in between, so sessions with shorter time-outs expire.

        Raises:
            TypeError: the server's time is the reactor's.
        """
        if not isinstance(self.clock, Clock):
            raise TypeError(
                "the server's time is the reactor's; pass clock=twisted.internet.task.Clock()"
            )
        tick = self.server.settings.tick_time
        while seconds > tick:
            self.clock.advance(tick)
            seconds -= tick
        self.clock.advance(seconds)

    @property
    def refuse(self) -> bool:
        """Whether new connections are closed at once."""
        return self.server.refuse

    @refuse.setter
    def refuse(self, value: bool) -> None:
        self.server.refuse = value

    @property
    def read_only(self) -> bool:
        """Whether it behaves like a server that is cut off from its ensemble.

        Changing it closes all connections, as losing and finding the ensemble does.
        """
        return self.server.read_only

    @read_only.setter
    def read_only(self, value: bool) -> None:
        self.server.read_only = value

    # -- inspection

    def tree(self) -> dict[str, bytes | None]:
        """All paths and their data, except ZooKeeper's own below ``/zookeeper``."""
        return self.server.tree()

    def node(self, path: str) -> NodeView | None:
        """A znode's data, ACL, Stat and children as they are now; None if there is none."""
        return self.server.node(path)

    def sessions(self) -> list[int]:
        """The ids of the sessions that are alive."""
        return self.server.sessions()

    def statistics(self) -> Statistics:
        """Counts of what the server has, and of what it did since the start."""
        return self.server.statistics()


def _session_id(given: object) -> int:
    """Check that an argument is a session id, and not a client's ``client_id``, a tuple."""
    if not isinstance(given, int):
        raise TypeError(f"expected a session id, client.client_id[0], got {given!r}")
    return given
