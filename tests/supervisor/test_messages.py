"""Tests of ``zkservice.supervisor.messages``: valid and invalid messages."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import MessageError
from zkservice.supervisor import messages
from zkservice.supervisor.messages import (
    Ask,
    Beat,
    Closed,
    Drain,
    Failed,
    Hello,
    LogLine,
    Message,
    Reopen,
    Reply,
    Serve,
    Serving,
    decode,
    encode,
)

WHOLE = st.integers(0, 2**63)
TEXT = st.text(max_size=30)
LEVELS = st.sampled_from(["debug", "info", "warn", "error", "critical"])
VALUES = st.recursive(
    st.none() | st.booleans() | WHOLE | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
MESSAGES = st.one_of(
    st.builds(Hello, WHOLE, WHOLE),
    st.builds(Serve, TEXT, st.dictionaries(TEXT, VALUES, max_size=3), WHOLE),
    st.just(Serving()),
    st.builds(Failed, TEXT),
    st.builds(Beat, WHOLE, WHOLE, WHOLE, st.dictionaries(TEXT, VALUES, max_size=3)),
    st.builds(Closed, WHOLE),
    st.builds(Drain, st.floats(0, 1e9)),
    st.just(Reopen()),
    st.builds(LogLine, LEVELS, TEXT, TEXT, TEXT),
    st.builds(Ask, WHOLE, TEXT, st.lists(VALUES, max_size=3)),
    st.builds(Reply, WHOLE, VALUES, TEXT),
)


class MessageTests(SynchronousTestCase):
    """Bytes and messages."""

    @given(MESSAGES)
    def test_a_decoded_message_is_the_encoded_one(self, message: Message) -> None:
        """A decoded message equals the one that was encoded."""
        self.assertEqual(decode(encode(message)), message)

    @given(st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
    def test_invalid_bytes_raise_one_error(self, data: bytes) -> None:
        """No bytes raise anything but MessageError."""
        self.assertRaises(MessageError, decode, data)

    def test_messages_have_their_golden_bytes(self) -> None:
        """The schema of this version; a change of it needs another version."""
        self.assertEqual(messages.VERSION, 1)
        self.assertEqual(
            encode(Beat(1, 2, 3, {"a": 4})),
            b'{"type": "Beat", "requests": 1, "in_service": 2, "rss": 3, "figures": {"a": 4}}',
        )
        self.assertEqual(encode(Serving()), b'{"type": "Serving"}')

    def test_fields_of_another_release_are_refused(self) -> None:
        """A field that is unknown, missing or of another type is named."""
        for text, named in (
            ('{"type": "Closed", "count": "1"}', "Closed.count"),
            ('{"type": "Closed", "count": 1, "more": 2}', "Closed.more"),
            ('{"type": "Closed"}', "a Closed without all of its fields"),
        ):
            error = self.assertRaises(MessageError, decode, text.encode())
            self.assertIn(named, str(error))

    def test_a_message_has_a_largest_size(self) -> None:
        """What is larger is refused by the one that would send it."""
        self.patch(messages, "MAX_MESSAGE", 100)
        self.assertRaises(MessageError, encode, Failed("x" * 100))
