"""Tests for zkservice.web.streams: responses that go on, and never wait for their client."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.web.support import Client, FrontEnd, hello, split
from zkservice.web import Limits, ResponseTally, Stream, StreamView

GET = b"GET /s HTTP/1.1\r\nHost: a\r\n\r\n"


class Feeder:
    """Has streams; sends what the test passes."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.gone: list[Stream] = []

    def opened(self, stream: Stream) -> None:
        """Greet it."""
        self.streams.append(stream)
        stream.send(b"hello\n")

    def lost(self, stream: Stream) -> None:
        """Forget it."""
        self.gone.append(stream)


class StreamTests(SynchronousTestCase):
    """A view that goes on sending."""

    @override
    def setUp(self) -> None:
        self.feeder = Feeder()
        self.tally = ResponseTally()
        view = StreamView(self.feeder, [("Content-Type", "text/event-stream")], most=2)
        self.end = FrontEnd(
            hello, Limits(request_timeout=1.0), views={"/s": view}, tally=self.tally
        )

    def connect(self) -> Client:
        """A client with a stream."""
        client = self.end.connect()
        client.channel.dataReceived(GET)
        return client

    def test_blocks_are_sent_when_there_are_some(self) -> None:
        """Each at once; the end is a good one, and the connection lives on."""
        client = self.connect()
        line, fields, body = split(client.received())
        self.assertEqual((line, body), (b"HTTP/1.1 200 OK", b"6\r\nhello\n\r\n"))
        self.assertEqual(fields["content-type"], "text/event-stream")
        (stream,) = self.feeder.streams
        stream.send(b"more")
        self.assertEqual(client.received(), b"4\r\nmore\r\n")
        stream.close()
        self.assertEqual(client.received(), b"0\r\n\r\n")
        self.assertEqual(self.feeder.gone, [stream])
        self.assertIn(b"hello", client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"))
        stream.send(b"late")
        self.assertEqual(client.received(), b"")

    def test_a_client_that_leaves_is_forgotten(self) -> None:
        """Nothing is sent, and nothing stays."""
        client = self.connect()
        client.leave()
        self.assertEqual(self.feeder.gone, self.feeder.streams)
        self.feeder.streams[0].send(b"late")
        self.assertEqual(self.end.clock.getDelayedCalls(), [])

    def test_a_slow_client_is_cut_off(self) -> None:
        """What waits for it is bounded; the others get theirs."""
        slow, quick = self.connect(), self.connect()
        slow.transport.set_flowing(False)
        quick.received()
        block = b"x" * 65536
        for _ in range(12):
            for stream in self.feeder.streams:
                stream.send(block)
        self.assertTrue(slow.transport.aborted)
        self.assertEqual(len(quick.received()), 12 * (65536 + 9))
        self.assertEqual(self.feeder.gone, self.feeder.streams[:1])

    def test_room_comes_back_as_the_client_reads(self) -> None:
        """A stream may send any amount over the time."""
        client = self.connect()
        for _ in range(50):
            client.transport.set_flowing(False)
            self.feeder.streams[0].send(b"x" * 300_000)
            client.transport.set_flowing(True)
            client.received()
        self.assertFalse(client.transport.aborted)

    def test_one_more_ends_the_oldest(self) -> None:
        """The oldest stream ends cleanly, so idle streams do not keep new clients out."""
        first, second = self.connect(), self.connect()
        first.received()
        second.received()
        third = self.connect()
        self.assertEqual(first.received(), b"0\r\n\r\n")
        self.assertEqual(self.feeder.gone, self.feeder.streams[:1])
        self.assertIn(b"hello", third.received())
        second.leave()
        self.assertIn(b"hello", self.connect().received())
        self.assertEqual(self.feeder.gone, self.feeder.streams[:2])

    def test_draining_ends_them(self) -> None:
        """They hold nothing up, and no new one begins."""
        client = self.connect()
        client.received()
        drained = self.end.factory.drain(30)
        self.assertEqual(client.received(), b"0\r\n\r\n")
        other = self.end.connect()
        self.assertEqual(split(other.send(GET))[0].split()[1], b"503")
        self.end.clock.advance(1.5)
        client.leave()
        other.leave()
        self.assertEqual(self.successResultOf(drained), 0)

    def test_time_limits_of_requests_do_not_hold(self) -> None:
        """Also not after the client was slow for a moment; metrics do not count its time."""
        client = self.connect()
        client.transport.set_flowing(False)
        self.feeder.streams[0].send(b"x" * 200_000)
        client.transport.set_flowing(True)
        self.end.clock.pump([1.0] * 100)
        self.assertFalse(client.transport.aborted)
        client.leave()
        self.assertEqual(sum(self.tally.totals.duration.cells), 0)

    def test_head(self) -> None:
        """Has no body, and no stream."""
        answer = self.end.get(GET.replace(b"GET", b"HEAD"))
        self.assertTrue(answer.endswith(b"\r\n\r\n"))
        self.assertEqual(self.feeder.streams, [])
