"""Tests for zkservice.web.output: a real socket's buffers, a transport that is played."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.web.file_segments import FileSegment, Spill
from zkservice.web.output import Part, SocketOutput


class PlainTransport:
    """What ``SocketOutput`` asks of Twisted's TCP transport."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.producer: SocketOutput | None = None
        self.waits = False
        self.aborted = False

    def getHandle(self) -> socket.socket:  # noqa: N802 - ISystemHandle
        """The socket."""
        return self._socket

    def registerProducer(self, producer: SocketOutput, streaming: bool) -> None:  # noqa: N802
        """Ask a pull producer at once, as Twisted does."""
        assert not streaming and self.producer is None
        self.producer = producer
        producer.resumeProducing()

    def unregisterProducer(self) -> None:  # noqa: N802
        """Forget the producer."""
        self.producer = None

    def startWriting(self) -> None:  # noqa: N802 - FileDescriptor
        """Wait until the socket has room."""
        self.waits = True

    def abortConnection(self) -> None:  # noqa: N802 - ITCPTransport
        """Note it."""
        self.aborted = True

    def room(self) -> None:
        """Tell the producer that the socket has room."""
        assert self.producer is not None and self.waits
        self.waits = False
        self.producer.resumeProducing()


def open_files() -> set[str]:
    """The paths of the files that this process has open."""
    paths = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that lists them
            paths.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    return paths


class SocketOutputTests(SynchronousTestCase):
    """Bytes and files, straight to the kernel."""

    @override
    def setUp(self) -> None:
        self.ours, self.client = socket.socketpair()
        self.addCleanup(self.ours.close)
        self.addCleanup(self.client.close)
        self.ours.setblocking(False)
        self.client.setblocking(False)
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.transport = PlainTransport(self.ours)
        self.moves = 0
        self.output = SocketOutput(self.transport, self.moved)

    def moved(self) -> None:
        """Count what the output says."""
        self.moves += 1

    def read(self) -> bytes:
        """What has arrived."""
        data = b""
        while True:
            try:
                part = self.client.recv(65536)
            except BlockingIOError:
                return data
            if not part:
                return data
            data += part

    def test_unsent_output_stays_unsent(self) -> None:
        """What waits is not sent, and what was dropped with the connection stays so."""
        self.output.write((b"x" * 100_000,))
        arrived = len(self.read())
        self.assertEqual(self.output.unsent, 100_000 - arrived)
        self.client.close()
        self.transport.room()
        self.assertTrue(self.output.broken)
        self.assertEqual(self.output.unsent, 100_000 - arrived)

    def test_unsent_at_once(self) -> None:
        """A client that has left before the first byte was sent nothing."""
        self.client.close()
        self.output.write((b"abc",))
        self.assertEqual((self.output.broken, self.output.unsent), (True, 3))

    def read_all(self) -> bytes:
        """What arrives while the client goes on reading."""
        data = self.read()
        while self.output.blocked and not self.transport.aborted:
            self.transport.room()
            data += self.read()
        return data

    def segment(self, data: bytes, close: Any = None) -> FileSegment:
        """A segment of a file with such bytes."""
        path = Path(self.mktemp())
        path.write_bytes(b"<<" + data + b">>")
        self.path = path
        with path.open("rb") as file:
            return FileSegment.of(file.fileno(), 2, len(data))

    def test_the_kernel_takes_output_at_once(self) -> None:
        """What the kernel takes at once is not buffered, and no producer is resumed."""
        self.output.write((b"abc",))
        self.output.write((b"d", b"", b"ef"))
        self.assertEqual(self.read(), b"abcdef")
        self.assertEqual((self.output.blocked, self.moves), (False, 0))

    def test_held_output_leaves_with_the_next_write(self) -> None:
        """What is held leaves with the next write, in order."""
        self.output.hold((b"a", b"b"))
        self.assertEqual((self.read(), self.output.backlog), (b"", 2))
        self.output.write((b"c",))
        self.assertEqual((self.read(), self.output.backlog), (b"abc", 0))

    def test_output_for_a_slow_client_waits(self) -> None:
        """What the kernel does not take waits, is counted, and follows."""
        self.output.write((b"x" * 100_000,))
        self.output.write((b"y" * 10,))
        self.assertTrue(self.output.blocked)
        arrived = self.read()
        self.assertEqual(self.output.backlog, 100_010 - len(arrived))
        self.assertEqual(arrived + self.read_all(), b"x" * 100_000 + b"y" * 10)
        self.assertEqual(self.output.backlog, 0)
        self.assertIsNone(self.transport.producer)
        self.assertGreater(self.moves, 0)

    @given(
        st.lists(st.tuples(st.booleans(), st.integers(0, 20_000)), max_size=8),
        # Seeded by hypothesis; otherwise each random byte would count as generated input.
        st.randoms(use_true_random=True),
    )
    def test_any_mixture_arrives_in_order(
        self, pieces: list[tuple[bool, int]], random: Any
    ) -> None:
        """Bytes and files in any mixture and size arrive in their order, and files are closed."""
        self.setUp()
        paths = set()
        expected = b""
        for in_file, size in pieces:
            data = random.randbytes(size)
            expected += data
            part: Part = data
            if in_file and data:
                part = self.segment(data)
                paths.add(str(self.path.resolve()))
            if random.random() < 0.5:
                self.output.hold((part,))
            else:
                self.output.write((part,))
        self.output.flush()
        self.assertEqual(self.read_all(), expected)
        self.assertEqual((self.output.backlog, self.output.file_backlog), (0, 0))
        self.assertEqual(paths & open_files(), set())

    def test_file_that_shrank(self) -> None:
        """A file that lost its end is cut, and nothing else takes the place of the rest."""
        segment = self.segment(b"x" * 50_000)
        os.truncate(self.path, 10)
        self.output.write((b"head", segment))
        self.transport.room()
        self.assertTrue(self.transport.aborted)
        self.output.write((b"another response",))
        self.assertEqual(self.read(), b"head" + b"x" * 8)
        self.assertTrue(self.output.blocked)
        self.output.stopProducing()

    def test_client_that_left(self) -> None:
        """A dead socket is cut; what is written afterwards goes nowhere."""
        self.client.close()
        for _ in range(3):
            self.output.write((b"abc",))
        self.assertTrue(self.transport.aborted)
        self.output.stopProducing()
        self.assertEqual(self.output.backlog, 0)

    def test_a_lost_connection_drops_what_waits(self) -> None:
        """With the connection everything that waits goes, files included."""
        closed: list[int] = []
        segment = self.segment(b"abc")
        spare = FileSegment(segment.descriptor, 2, 3, lambda: closed.append(1))
        self.output.write((b"x" * 100_000, spare, segment))
        self.output.stopProducing()
        self.assertEqual((self.output.backlog, self.output.file_backlog, closed), (0, 0, [1]))


class SpillTests(SynchronousTestCase):
    """A file between a worker and a client."""

    def test_closed_by_the_last(self) -> None:
        """The file lives as long as the worker or a segment needs it."""
        before = len(os.listdir("/proc/self/fd"))
        spill = Spill()
        first, second = spill.append((b"ab", b"c")), spill.append((b"def",))
        self.assertEqual((first.read(10), second.read(2), second.read(9)), (b"abc", b"de", b"f"))
        first.close()
        first.close()
        spill.release()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before + 1)
        second.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
