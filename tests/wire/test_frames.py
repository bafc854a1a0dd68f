"""Tests of ``zkservice.wire.frames``: one stream, however it is split."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import FrameSizeError
from zkservice.wire.frames import JUTE_MAXBUFFER, Framer, frame

payloads = st.lists(st.binary(max_size=30), max_size=8)


class FramerTests(SynchronousTestCase):
    """Frames come out as they went in."""

    @given(payloads, st.data())
    def test_any_split_gives_the_same_frames(self, sent: list[bytes], data: st.DataObject) -> None:
        """Whole, byte by byte and split anywhere, a stream has the same frames."""
        stream = b"".join(map(frame, sent))
        cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=10)))
        for bounds in (
            [0, len(stream)],
            list(range(len(stream) + 1)),
            [0, *cuts, len(stream)],
        ):
            framer = Framer(30)
            received = [
                payload
                for start, end in pairwise(bounds)
                for payload in framer.feed(stream[start:end])
            ]
            self.assertEqual(received, sent)

    def test_a_frame_is_complete_with_its_last_byte(self) -> None:
        """A frame is out with its last byte, not later."""
        framer = Framer(10)
        self.assertEqual(list(framer.feed(frame(b"one") + frame(b"two")[:-1])), [b"one"])
        self.assertEqual(list(framer.feed(b"")), [])
        self.assertEqual(list(framer.feed(b"o")), [b"two"])

    def test_the_length_does_not_count_itself(self) -> None:
        """The length does not count itself, and nothing at all has a frame too."""
        self.assertEqual(frame(b"abc"), b"\0\0\0\x03abc")
        self.assertEqual(frame(bytearray(b"abc")), b"\0\0\0\x03abc")
        self.assertEqual(list(Framer(0).feed(frame(b""))), [b""])

    def test_a_frame_over_the_limit_is_refused_early(self) -> None:
        """The limit itself is allowed; one more is not, and is refused before its bytes come."""
        big = bytes(JUTE_MAXBUFFER)
        self.assertEqual(list(Framer(JUTE_MAXBUFFER).feed(frame(big))), [big])
        with self.assertRaises(FrameSizeError) as caught:
            list(Framer(JUTE_MAXBUFFER).feed(frame(big + b"x")[:4]))
        self.assertEqual((caught.exception.size, caught.exception.limit), (1048576, 1048575))

    def test_a_negative_length_is_refused(self) -> None:
        """A negative length is refused."""
        with self.assertRaises(FrameSizeError):
            list(Framer(100).feed(b"\xff\xff\xff\xff"))

    def test_text_is_refused_as_a_length(self) -> None:
        """Text where a length is due is a huge length: refused."""
        with self.assertRaises(FrameSizeError):
            list(Framer(JUTE_MAXBUFFER).feed(b"ruok\n"))

    def test_frames_before_a_bad_length_are_delivered(self) -> None:
        """The frames before a bad length are delivered before the refusal."""
        received = []
        with self.assertRaises(FrameSizeError):
            for payload in Framer(10).feed(frame(b"good") + b"\xff\xff\xff\xff" + frame(b"bad")):
                received.append(payload)  # a list() would lose them
        self.assertEqual(received, [b"good"])

    def test_nothing_is_read_after_a_bad_length(self) -> None:
        """After a bad length nothing is read any more, whatever it looks like."""
        framer = Framer(10)
        for data in (b"\xff\xff\xff\xff", frame(b"fine")):
            with self.assertRaises(FrameSizeError):
                list(framer.feed(data))

    def test_frames_that_were_not_taken_come_later(self) -> None:
        """A caller that stops early gets the other frames later, and the stream is not shifted."""
        framer = Framer(10)
        for payload in framer.feed(frame(b"one") + frame(b"two") + frame(b"three")[:5]):
            self.assertEqual(payload, b"one")
            break
        self.assertEqual(list(framer.feed(frame(b"three")[5:])), [b"two", b"three"])

    def test_many_pieces_are_joined_once(self) -> None:
        """A megabyte in pieces of a kilobyte is joined once, not a thousand times."""
        payload = bytes(range(256)) * 4000
        stream = frame(payload)
        framer = Framer(JUTE_MAXBUFFER)
        received = [
            found
            for at in range(0, len(stream), 1024)
            for found in framer.feed(stream[at : at + 1024])
        ]
        self.assertEqual(received, [payload])

    def test_a_frame_over_the_limit_can_be_skipped(self) -> None:
        """A frame over the limit can be left out: its head is shown, the others come."""
        stream = frame(b"one") + frame(bytes(range(200))) + frame(b"two")
        shown: list[tuple[bytes, int]] = []

        def skipped(head: bytes, size: int) -> None:
            shown.append((head, size))

        for size in (1, 3, 19, 20, 21, 50, len(stream)):
            framer = Framer(100, skipped)
            received = [
                found
                for at in range(0, len(stream), size)
                for found in framer.feed(stream[at : at + size])
            ]
            self.assertEqual(received, [b"one", b"two"])
            self.assertEqual(shown.pop(), (bytes(range(16)), 200))
            self.assertEqual(shown, [])

    def test_negative_is_not_skipped(self) -> None:
        """An invalid length is an error nevertheless."""
        framer = Framer(100, lambda head, size: None)
        with self.assertRaises(FrameSizeError):
            list(framer.feed(b"\xff\xff\xff\xff"))
