"""Tests of ``zkservice.supervisor.connections``: which worker gets a connection."""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.supervisor.connections import Acceptor, ConnectionReceiver, ConnectionSender


class FakeReactor(Clock):
    """A clock that records its readers and adopts connections."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self.adopted: list[tuple[int, Any]] = []
        self.refuses = False

    def addReader(self, reader: Any) -> None:  # noqa: N802
        """It reads."""
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:  # noqa: N802
        """It reads no more."""
        self.readers.remove(reader)

    def adoptStreamConnection(  # noqa: N802
        self, descriptor: int, family: int, factory: Any
    ) -> None:
        """Take note of it."""
        if self.refuses:
            raise OSError(errno.ENOTCONN, "the client has left")
        self.adopted.append((family, factory.buildProtocol(None)))


class FakeListening:
    """A listening socket with connections that the test names."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.closed = False

    def setblocking(self, blocking: bool) -> None:
        """Nothing blocks."""

    def fileno(self) -> int:
        """As an open socket has."""
        return -1 if self.closed else 5

    def accept(self) -> tuple[Any, Any]:
        """The next one."""
        if not self.waiting:
            raise BlockingIOError
        one = self.waiting.pop(0)
        if isinstance(one, OSError):
            raise one
        return one, None

    def close(self) -> None:
        """It is closed."""
        self.closed = True


class FakeConnection:
    """An accepted connection."""

    closed = False

    def close(self) -> None:
        """It is closed here; a worker has it."""
        self.closed = True


class FakeTarget:
    """A worker."""

    def __init__(self, connections: int = 0, *, late: bool = False, room: int = 100) -> None:
        self.connections = connections
        self.late = late
        self.room = room

    def take(self, port: int, connection: Any) -> bool:
        """Take it, while there is room."""
        if not self.room:
            return False
        self.room -= 1
        self.connections += 1
        return True


class AcceptorTests(SynchronousTestCase):
    """Which worker gets a connection."""

    @override
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.listening = FakeListening()
        self.targets: list[Any] = []
        listening: Any = self.listening
        self.acceptor = Acceptor(self.reactor, 0, listening, lambda: self.targets)

    def accept(self, count: int) -> list[FakeConnection]:
        """So many connections come."""
        connections = [FakeConnection() for _ in range(count)]
        self.listening.waiting += connections
        self.acceptor.doRead()
        return connections

    def test_the_worker_with_the_fewest_gets_the_next(self) -> None:
        """Until all have equally many."""
        self.targets = [FakeTarget(5), FakeTarget(2), FakeTarget(0)]
        self.acceptor.start()
        connections = self.accept(8)
        self.assertEqual([target.connections for target in self.targets], [5, 5, 5])
        self.assertTrue(all(connection.closed for connection in connections))

    def test_workers_with_equally_many_take_turns(self) -> None:
        """Connections that are closed at once do not all go to the first worker."""
        self.targets = [FakeTarget(), FakeTarget()]
        self.acceptor.start()
        for _ in range(10):
            self.accept(1)
            for target in self.targets:
                target.connections = 0
        self.assertEqual([target.room for target in self.targets], [95, 95])

    def test_a_worker_that_is_silent_comes_last(self) -> None:
        """It may be stuck; if all workers are silent, they get connections all the same."""
        self.targets = [FakeTarget(0, late=True), FakeTarget(50)]
        self.acceptor.start()
        self.accept(10)
        self.assertEqual([target.connections for target in self.targets], [0, 60])
        self.targets = self.targets[:1]
        self.accept(1)
        self.assertEqual(self.targets[0].connections, 1)

    def test_without_workers_connections_wait_in_the_kernel(self) -> None:
        """Nothing is read before there is one."""
        self.acceptor.start()
        self.assertEqual(self.reactor.readers, [])
        self.targets = [FakeTarget()]
        self.acceptor.start()
        self.assertEqual(self.reactor.readers, [self.acceptor])

    def test_a_connection_that_no_worker_has_room_for_waits(self) -> None:
        """It is delivered a moment later; until then no other connection is accepted."""
        self.targets = [FakeTarget(room=1)]
        self.acceptor.start()
        first, second, third = self.accept(3)
        self.assertEqual((first.closed, second.closed), (True, False))
        self.assertEqual(self.listening.waiting, [third])
        self.assertEqual(self.reactor.readers, [])
        self.reactor.advance(0.1)
        self.assertFalse(second.closed)
        self.targets[0].room = 5
        self.reactor.advance(0.1)
        self.assertTrue(second.closed)
        self.assertEqual(self.reactor.readers, [self.acceptor])

    def test_running_out_of_descriptors_is_a_pause(self) -> None:
        """Not a busy loop: the socket stays readable while accept fails."""
        self.targets = [FakeTarget()]
        self.acceptor.start()
        self.listening.waiting.append(OSError(errno.EMFILE, "too many"))
        self.acceptor.doRead()
        self.assertEqual(self.reactor.readers, [])
        self.reactor.advance(0.1)
        self.assertEqual(self.reactor.readers, [self.acceptor])

    def test_waiting_connections_are_accepted_before_the_end(self) -> None:
        """All of the waiting connections: closing the socket would reset them."""
        self.targets = [FakeTarget(room=500)]
        self.acceptor.start()
        self.listening.waiting += [FakeConnection() for _ in range(200)]
        self.acceptor.finish()
        self.assertEqual(self.targets[0].connections, 200)
        self.assertTrue(self.listening.closed)
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), ([], []))

    def test_stopping_leaves_nothing(self) -> None:
        """A connection that no worker has taken is closed, and so is the socket."""
        self.targets = [FakeTarget(room=0)]
        self.acceptor.start()
        (held,) = self.accept(1)
        self.acceptor.stop()
        self.assertTrue(held.closed and self.listening.closed)
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), ([], []))


class FakeProtocol:
    """What a factory builds."""

    def __init__(self) -> None:
        self.reasons: list[Any] = []

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        """Take note of it."""
        self.reasons.append(reason)


class FakeFactory:
    """Builds protocols."""

    def buildProtocol(self, addr: Any) -> FakeProtocol:  # noqa: N802
        """One."""
        return FakeProtocol()


class ExhaustedEnd:
    """An end of a pair in a process that can open no more files."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._end, name)

    def dup(self) -> socket.socket:
        """No descriptor is free."""
        raise OSError(errno.EMFILE, "too many open files")


class TruncatedEnd(ExhaustedEnd):
    """An end of a pair in a process that uses up its last descriptor at this moment."""

    def dup(self) -> socket.socket:
        """One descriptor is still free."""
        return self._end.dup()

    def recvmsg(self, *sizes: int) -> Any:
        """As recvmsg(2) does without descriptors."""
        data, ancillary, _flags, address = self._end.recvmsg(*sizes)
        for _level, _kind, content in ancillary:
            os.close(int.from_bytes(content, sys.byteorder))
        return data, [], socket.MSG_CTRUNC, address


class CrossingTests(SynchronousTestCase):
    """Descriptors over a real pair of sockets."""

    @override
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.closed = 0
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sender = ConnectionSender(ours)
        factories: Any = [FakeFactory(), FakeFactory()]
        self.receiver = ConnectionReceiver(self.reactor, theirs, factories, self.count)
        self.receiver.start()
        self.addCleanup(self.receiver.stop)
        self.addCleanup(self.sender.close)

    def count(self) -> None:
        """A connection has gone."""
        self.closed += 1

    def connection(self) -> socket.socket:
        """One end of a connection."""
        one, other = socket.socketpair()
        self.addCleanup(other.close)
        return one

    def test_a_connection_crosses_and_its_end_is_counted(self) -> None:
        """The parent may close its own descriptor at once."""
        with self.connection() as connection:
            self.assertTrue(self.sender.send(1, connection))
        self.receiver.doRead()
        ((family, protocol),) = self.reactor.adopted
        self.assertEqual((family, self.closed), (socket.AF_UNIX, 0))
        protocol.connectionLost("gone")
        self.assertEqual((self.closed, protocol.reasons), (1, ["gone"]))

    def test_a_client_that_has_left_is_counted_at_once(self) -> None:
        """Nothing is adopted, and the count is right."""
        self.reactor.refuses = True
        with self.connection() as connection:
            self.sender.send(0, connection)
        self.receiver.doRead()
        self.assertEqual(self.closed, 1)

    def test_a_process_without_descriptors_takes_nothing_over(self) -> None:
        """The kernel would close the connection; it waits until there are descriptors again."""
        with self.connection() as connection:
            self.sender.send(0, connection)
        end: Any = ExhaustedEnd(self.receiver._end)
        self.receiver._end, whole = end, self.receiver._end
        self.receiver.doRead()
        self.assertEqual((self.reactor.adopted, self.reactor.readers), ([], []))
        self.receiver._end = whole
        self.reactor.advance(0.2)
        self.receiver.doRead()
        self.assertEqual((len(self.reactor.adopted), self.closed), (1, 0))

    def test_a_connection_that_came_without_its_descriptor_is_counted(self) -> None:
        """Another thread was faster: the connection is lost, and the count is right."""
        with self.connection() as connection:
            self.sender.send(0, connection)
        end: Any = TruncatedEnd(self.receiver._end)
        self.receiver._end, whole = end, self.receiver._end
        self.receiver.doRead()
        self.receiver._end = whole
        self.assertEqual((self.reactor.adopted, self.closed), ([], 1))

    def test_a_full_queue_is_no_room(self) -> None:
        """A worker that adopts no connections gets only so many."""
        sent = 0
        with self.connection() as connection:
            while sent < 100_000 and self.sender.send(0, connection):
                sent += 1
        self.assertTrue(0 < sent < 100_000)
        self.receiver.doRead()
        self.assertEqual(len(self.reactor.adopted), sent)

    def test_what_was_passed_before_the_end_is_taken_over(self) -> None:
        """A worker that drains serves what it was given."""
        with self.connection() as connection:
            self.sender.send(0, connection)
        self.sender.close()
        self.receiver.stop()
        self.assertEqual(len(self.reactor.adopted), 1)
        self.assertEqual(self.reactor.readers, [])
