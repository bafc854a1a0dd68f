"""Tests of ``zkservice.supervisor.channel``: what one side may send, and what the other bears."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.errors import MessageError, WorkerSilentError, WorkerUnreachableError
from zkservice.supervisor.channel import MAX_OFFERED, Channel
from zkservice.supervisor.messages import Ask, Closed, LogLine, Message, Reply, encode
from zkservice.supervisor.rate import Rate

ENTRY = LogLine("info", "app", "text")


def framed(data: bytes) -> bytes:
    """As it crosses the socket."""
    return struct.pack(">I", len(data)) + data


class Owner:
    """Records what the channel reports."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.misuses: list[str] = []

    def message_received(self, message: Message) -> None:
        """Take note of it."""
        self.messages.append(message)

    def channel_misused(self, reason: str) -> None:
        """Take note of it."""
        self.misuses.append(reason)

    def channel_lost(self) -> None:
        """It has gone."""


class Transport(StringTransport):
    """A transport that says whether it was aborted."""

    aborted = False

    def abortConnection(self) -> None:  # noqa: N802
        """Take note of it."""
        self.aborted = True


class ChannelCase(SynchronousTestCase):
    """A channel on a transport in memory."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.owner = Owner()
        self.asked: list[Deferred[Any]] = []
        self.channel = Channel(self.owner, self.answer, self.clock)
        self.transport = Transport()
        self.channel.makeConnection(self.transport)

    def answer(self, what: str, arguments: list[Any]) -> Any:
        """Answer later, or never."""
        if what == "forbidden":
            raise MessageError("an invalid request")
        if what == "broken":
            raise LookupError("no such thing")
        self.asked.append(Deferred())
        return self.asked[-1]

    def receive(self, *messages: Message) -> None:
        """The other side sends messages."""
        self.channel.dataReceived(b"".join(framed(encode(message)) for message in messages))

    def replies(self) -> list[dict[str, Any]]:
        """What was sent since the last look."""
        data, found = self.transport.value(), []
        self.transport.clear()
        while data:
            (size,) = struct.unpack(">I", data[:4])
            found.append(json.loads(data[4 : 4 + size]))
            data = data[4 + size :]
        return found

    def assert_misused(self, *reasons: str) -> None:
        """It was closed, and the owner has heard why, once."""
        self.assertEqual(self.owner.misuses, list(reasons))
        self.assertTrue(self.transport.aborted)


class MisuseTests(ChannelCase):
    """The other side is broken, or hostile."""

    def test_an_invalid_message_closes_the_channel_once(self) -> None:
        """What came with it is not read any more."""
        bad = framed(b'{"type": "Closed", "count": -1}')
        self.channel.dataReceived(bad + bad + framed(encode(Closed(1))))
        self.assert_misused("Closed.count is invalid: '-1'")
        self.assertEqual(self.owner.messages, [])

    def test_a_message_that_is_too_long_closes_it(self) -> None:
        """Its bytes are not waited for."""
        self.channel.dataReceived(struct.pack(">I", 1 << 31))
        self.assert_misused("a message of 2147483648 bytes")

    def test_a_listener_refuses_a_message(self) -> None:
        """What it raises is the reason."""

        def refuse(message: Message) -> None:
            raise MessageError("invalid figures")

        self.patch(self.owner, "message_received", refuse)
        self.receive(Closed(1))
        self.assert_misused("invalid figures")

    def test_a_flood_closes_it(self) -> None:
        """A flood is many messages in one second; the same number over a minute is not."""
        for _ in range(60):
            self.receive(*[Closed(1)] * 500)
            self.clock.advance(1)
        self.assertEqual(self.owner.misuses, [])
        self.receive(*[Closed(1)] * 30_000)
        self.assert_misused("too many messages in a second")
        self.assertLess(len(self.owner.messages), 50_000)

    def test_large_messages_are_a_flood_sooner(self) -> None:
        """Each KiB counts like another message."""
        self.receive(*[LogLine("info", "app", "x" * 100_000)] * 200)
        self.assert_misused("too many messages in a second")

    def test_a_descriptor_closes_it(self) -> None:
        """It is closed, not kept open."""
        descriptor = os.dup(0)
        self.channel.fileDescriptorReceived(descriptor)
        self.assertRaises(OSError, os.fstat, descriptor)
        self.assert_misused("a file descriptor")

    def test_a_request_that_is_not_allowed_closes_it(self) -> None:
        """Nothing is answered."""
        self.receive(Ask(1, "forbidden"))
        self.assert_misused("an invalid request")


class QuestionTests(ChannelCase):
    """Requests of either side."""

    def test_only_so_many_are_worked_on_at_a_time(self) -> None:
        """Further requests fail at once; after each reply there is room for one."""
        self.receive(*[Ask(number, "view") for number in range(100)])
        self.assertEqual((len(self.asked), len(self.replies())), (64, 36))
        self.asked[0].callback("shown")
        self.assertEqual([reply["value"] for reply in self.replies()], ["shown"])
        self.receive(Ask(101, "view"))
        self.assertEqual(len(self.asked), 65)

    def test_a_peer_that_does_not_read_gets_no_replies(self) -> None:
        """The replies would wait in memory."""
        self.receive(Ask(1, "view"))
        self.channel.pauseProducing()
        self.asked[0].callback("shown")
        self.assertEqual(self.replies(), [])

    def test_a_request_to_a_peer_that_does_not_read_fails(self) -> None:
        """The request fails at once."""
        self.channel.pauseProducing()
        asked = self.channel.ask("figures", timeout=1)
        self.failureResultOf(asked, WorkerSilentError)
        self.assertEqual(self.replies(), [])

    def test_a_peer_that_does_not_reply_in_time_is_silent(self) -> None:
        """The error has a type of its own, so that nobody needs to read its text."""
        asked = self.channel.ask("figures", timeout=1)
        self.clock.advance(1)
        self.failureResultOf(asked, WorkerSilentError)

    def test_a_peer_that_refuses_is_not_silent(self) -> None:
        """Whatever the reason of the refusal is."""
        asked = self.channel.ask("figures", timeout=1)
        self.receive(Reply(1, error="no answer for this"))
        failure = self.failureResultOf(asked, WorkerUnreachableError)
        self.assertNotIsInstance(failure.value, WorkerSilentError)

    def test_failed_requests_do_not_fill_the_log(self) -> None:
        """Each gets a reply with a short reason; at most ten in a second are logged."""
        self.receive(*[Ask(number, "broken") for number in range(50)])
        self.assertEqual(
            {reply["error"] for reply in self.replies()}, {"broken failed: no such thing"}
        )
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 10)


class OfferTests(ChannelCase):
    """Messages that may be dropped."""

    def test_what_is_offered_is_never_a_flood(self) -> None:
        """The other side accepts all messages that were not dropped."""
        within = Rate(self.clock, MAX_OFFERED)
        sent = sum(self.channel.offer(ENTRY, within) for _ in range(30_000))
        self.assertTrue(1000 < sent < 30_000)
        data = self.transport.value()
        self.channel.dataReceived(data)
        self.assertEqual((len(self.owner.messages), self.owner.misuses), (sent, []))
        self.clock.advance(1)
        self.assertTrue(self.channel.offer(ENTRY, within))

    def test_an_offer_to_a_peer_that_does_not_read_is_dropped(self) -> None:
        """The message is dropped."""
        self.channel.pauseProducing()
        self.assertFalse(self.channel.offer(ENTRY, Rate(self.clock, MAX_OFFERED)))
