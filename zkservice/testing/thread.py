"""The server for tests without Twisted: it has its own reactor, in its own thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.pollreactor import PollReactor
from twisted.python.failure import Failure
from typing_extensions import Self

from zkservice.embedded.server import Statistics
from zkservice.embedded.server_state import NodeView
from zkservice.errors import NotStartedError
from zkservice.testing.embedded import EmbeddedZooKeeper

T = TypeVar("T")

#: Seconds that a call waits for the server's thread.
TIMEOUT: Final = 10.0


class ThreadedZooKeeper:
    """A ZooKeeper server for ``unittest``, ``pytest`` and scripts; its methods block.

    It does not use or install the global reactor.  Example::

        with ThreadedZooKeeper() as zookeeper:
            client = KazooClient(zookeeper.connection_string)
            client.start()
            zookeeper.expire(client.client_id[0])

    Args:
        options: those of `EmbeddedZooKeeper`, except the reactor.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._port = 0  # kept when it is started again
        self._reactor: Any = None
        self._thread: Thread | None = None
        self._zookeeper: EmbeddedZooKeeper | None = None

    # -- the test's thread

    @property
    def connection_string(self) -> str:
        """What clients connect to, ``127.0.0.1:PORT``."""
        return self._embedded.connection_string

    def start(self) -> Self:
        """Start the thread and the server in it; returns when clients can connect.

        Raises:
            CannotListenError: the port is taken.
        """
        if self._thread is not None:
            return self
        self._reactor = PollReactor()  # a reactor cannot be run twice
        options = {**self._options, "port": self._port or self._options.get("port", 0)}
        self._zookeeper = EmbeddedZooKeeper(self._reactor, **options)
        self._thread = Thread(target=self._run, name="ZooKeeper", daemon=True)
        self._thread.start()
        try:
            self._port = self._wait(self._zookeeper.start).port
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server and its thread; calling it again does nothing."""
        thread = self._thread
        if thread is None:
            return
        try:
            self._wait(self._embedded.stop)
        finally:
            self._thread = None
            self._reactor.callFromThread(self._reactor.stop)
            thread.join(TIMEOUT)
            # A stopped reactor keeps open the pipe with which other threads wake it.
            self._reactor.waker.connectionLost(Failure(ConnectionDone()))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def expire(self, session_id: int) -> bool:
        """As `EmbeddedZooKeeper.expire`."""
        return self._call(lambda: self._embedded.expire(session_id))

    def drop(self, session_id: int) -> bool:
        """As `EmbeddedZooKeeper.drop`."""
        return self._call(lambda: self._embedded.drop(session_id))

    def pause(self) -> None:
        """As `EmbeddedZooKeeper.pause`."""
        self._call(self._embedded.pause)

    def resume(self) -> None:
        """As `EmbeddedZooKeeper.resume`."""
        self._call(self._embedded.resume)

    def advance(self, seconds: float) -> None:
        """As `EmbeddedZooKeeper.advance`."""
        self._call(lambda: self._embedded.advance(seconds))

    @property
    def refuse(self) -> bool:
        """As `EmbeddedZooKeeper.refuse`."""
        return self._call(lambda: self._embedded.refuse)

    @refuse.setter
    def refuse(self, value: bool) -> None:
        self._call(lambda: setattr(self._embedded, "refuse", value))

    @property
    def read_only(self) -> bool:
        """As `EmbeddedZooKeeper.read_only`."""
        return self._call(lambda: self._embedded.read_only)

    @read_only.setter
    def read_only(self, value: bool) -> None:
        self._call(lambda: setattr(self._embedded, "read_only", value))

    def tree(self) -> dict[str, bytes | None]:
        """As `EmbeddedZooKeeper.tree`."""
        return self._call(self._embedded.tree)

    def node(self, path: str) -> NodeView | None:
        """As `EmbeddedZooKeeper.node`."""
        return self._call(lambda: self._embedded.node(path))

    def sessions(self) -> list[int]:
        """As `EmbeddedZooKeeper.sessions`."""
        return self._call(self._embedded.sessions)

    def statistics(self) -> Statistics:
        """As `EmbeddedZooKeeper.statistics`."""
        return self._call(self._embedded.statistics)

    @property
    def _embedded(self) -> EmbeddedZooKeeper:
        if self._zookeeper is None:
            raise NotStartedError
        return self._zookeeper

    def _call(self, work: Callable[[], T]) -> T:
        """Call a function in the server's thread, and return its result."""
        return self._wait(lambda: succeed(work()))

    def _wait(self, work: Callable[[], Deferred[T]]) -> T:
        """Call a function in the server's thread, and wait until its Deferred fires."""
        if self._thread is None:
            raise NotStartedError
        result: Future[T] = Future()
        self._reactor.callFromThread(self._run_work, work, result)
        return result.result(TIMEOUT)

    # -- the server's thread

    def _run(self) -> None:
        # Only the main thread can handle signals.
        self._reactor.run(installSignalHandlers=False)

    def _run_work(self, work: Callable[[], Any], result: Future[Any]) -> None:
        def failed(failure: Failure) -> None:
            result.set_exception(failure.value)

        maybeDeferred(work).addCallbacks(result.set_result, failed)
