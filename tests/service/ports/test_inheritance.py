"""Tests for `zkservice.service.ports.inheritance`."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.errors import ConfigurationError
from zkservice.service.ports.inheritance import (
    VARIABLE,
    Handover,
    Inheritance,
    InheritedSockets,
    inherit,
)

TEXTS = st.text(max_size=20)


class InheritanceTests(SynchronousTestCase):
    """What the environment variable says."""

    @given(st.lists(TEXTS), st.lists(TEXTS), TEXTS)
    def test_what_is_written_is_read(
        self, endpoints: list[str], systemd: list[str], pidfile: str
    ) -> None:
        """Any endpoint strings, names and paths."""
        written = Inheritance.of(endpoints, systemd, pidfile)
        self.assertEqual(Inheritance.from_text(written.to_text()), written)

    @given(st.lists(st.integers(0, 1000), unique=True), st.integers(0, 1000))
    def test_each_socket_has_a_descriptor_of_its_own(self, open_: list[int], channel: int) -> None:
        """Above the standard streams, in the order of the sockets, after the channel."""
        given = Inheritance.of([f"tcp:{number}" for number in open_])
        numbers = given.descriptors(channel, open_)
        self.assertEqual(numbers.pop(given.channel), channel)
        self.assertEqual([numbers[number] for _, number in given.sockets], open_)
        self.assertEqual(sorted([3, *numbers]), list(range(3, 4 + len(open_))))

    @given(
        st.recursive(
            st.none() | st.integers() | TEXTS,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        )
        | st.fixed_dictionaries({"version": st.just(1), "sockets": st.lists(TEXTS)})
    )
    def test_invalid_text_is_refused(self, value: Any) -> None:
        """Whatever JSON, and no JSON."""
        self.assertRaises(ConfigurationError, Inheritance.from_text, json.dumps(value))
        self.assertRaises(ConfigurationError, Inheritance.from_text, "{" + json.dumps(value))

    def test_another_version_is_refused(self) -> None:
        """The old program goes on then."""
        text = Inheritance.of(["tcp:0"]).to_text().replace('"version": 1', '"version": 2')
        error = self.assertRaises(ConfigurationError, Inheritance.from_text, text)
        self.assertIn("of version 2; this zkservice knows 1", str(error))

    def test_an_ordinary_program_inherits_nothing(self) -> None:
        """Without the variable."""
        self.assertIs(inherit({}), None)

    def test_programs_that_are_started_inherit_nothing(self) -> None:
        """The variable is gone, and the descriptors are closed in them."""
        ends = socket.socketpair()
        for end in ends:
            self.addCleanup(end.close)
            os.set_inheritable(end.fileno(), True)
        channel, listening = (end.fileno() for end in ends)
        environ = {VARIABLE: Inheritance((("tcp:1", listening),), channel=channel).to_text()}
        inherited = inherit(environ)
        assert inherited is not None
        self.assertEqual((inherited.sockets, environ), ((("tcp:1", listening),), {}))
        self.assertEqual([os.get_inheritable(end.fileno()) for end in ends], [False, False])

    def test_a_descriptor_that_is_not_open_is_an_error(self) -> None:
        """Somebody else has set the variable."""
        environ = {VARIABLE: Inheritance((), channel=1_000_000).to_text()}
        error = self.assertRaises(ConfigurationError, inherit, environ)
        self.assertIn("descriptor 1000000: Bad file descriptor", str(error))

    def test_a_failure_is_reported_without_a_reactor(self) -> None:
        """One line of JSON; it does no harm if the old program has ended."""
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        inherited = Inheritance((), channel=theirs.fileno())
        inherited.report_failure("no such option")
        line = ours.recv(1000)
        self.assertTrue(line.endswith(b"\n"))
        self.assertEqual(json.loads(line), {"say": "failed", "reason": "no such option"})
        ours.close()
        inherited.report_failure("no such option")


class InheritedSocketsTests(SynchronousTestCase):
    """Which port gets which socket."""

    def test_equal_endpoints_get_a_socket_each(self) -> None:
        """In their order, once; others get none."""
        sockets = InheritedSockets([("tcp:0", 4), ("unix:/s", 5), ("tcp:0", 6)])
        wanted = ("tcp:0", "tcp:1", "tcp:0", "tcp:0", "unix:/s")
        self.assertEqual([sockets.take(one) for one in wanted], [4, None, 6, None, 5])

    def test_what_nothing_listens_on_is_closed(self) -> None:
        """Otherwise connections to a port that is no longer configured would wait for ever."""
        kept, closed = os.pipe()
        self.addCleanup(os.close, kept)
        sockets = InheritedSockets([("a", kept), ("b", closed)])
        sockets.take("a")
        sockets.close()
        os.fstat(kept)
        self.assertRaises(OSError, os.fstat, closed)


class HandoverTests(SynchronousTestCase):
    """Messages between two programs, perhaps of two versions."""

    @override
    def setUp(self) -> None:
        self.heard: list[Any] = []
        self.handover = Handover(self.heard.append, lambda: self.heard.append("lost"))
        self.transport = StringTransport()

    def test_each_message_is_a_line_of_json(self) -> None:
        """A line of JSON each."""
        self.handover.makeConnection(self.transport)
        self.handover.send("prepared", session=7)
        self.assertEqual(json.loads(self.transport.value()), {"say": "prepared", "session": 7})
        self.handover.dataReceived(self.transport.value())
        self.assertEqual(self.heard, [{"say": "prepared", "session": 7}])

    @given(st.lists(st.binary(max_size=30)))
    def test_what_is_no_message_is_ignored(self, lines: list[bytes]) -> None:
        """Whatever another program writes there."""
        heard: list[Any] = []
        handover = Handover(heard.append, lambda: None)
        handover.makeConnection(StringTransport())
        handover.dataReceived(b"\n".join(lines) + b"\n")
        self.assertEqual([one for one in heard if not isinstance(one, dict)], [])

    def test_without_a_connection_nothing_is_sent(self) -> None:
        """Neither before the connection nor after the other program has ended."""
        self.handover.send("ready")
        self.handover.makeConnection(self.transport)
        self.handover.connectionLost()
        self.handover.send("ready")
        self.assertEqual((self.transport.value(), self.heard), (b"", ["lost"]))
