"""Tests for the client's small parts: secrets, counters, hosts, four-letter words."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionRefusedError
from twisted.logger import Logger, capturedLogs, eventAsText
from twisted.trial.unittest import SynchronousTestCase

from tests.client.base import HOST, PORT, ClientTestCase
from zkservice import client
from zkservice.client import LATENCY_BOUNDS, DigestMD5, four_letter_word, read_secret
from zkservice.client.calls import Call
from zkservice.client.counters import ClientCounters
from zkservice.client.hosts import ServerOrder, reconnect_backoff
from zkservice.errors import ConnectTimeoutError, ProtocolError
from zkservice.wire import acl
from zkservice.wire.hosts import Address
from zkservice.wire.records import OpCode

#: Names that other rooms use, and programs do not.
INTERNAL = {"acl_entries"}  # checks an argument


def _is_public(name: str, value: object) -> bool:
    """Whether a module defines this name for programs."""
    own = name.isupper() or getattr(value, "__module__", "") == acl.__name__
    return own and not name.startswith("_") and name not in INTERNAL


class NamesTests(SynchronousTestCase):
    """The names that programs import from the package."""

    def test_access_control_names_are_exported(self) -> None:
        """All public names of `zkservice.wire.acl` are in `zkservice.client`."""
        public = {name for name, value in vars(acl).items() if _is_public(name, value)}
        self.assertIn("OPEN_ACL_UNSAFE", public)
        self.assertEqual(public - set(client.__all__), set())
        for name in public:
            self.assertIs(getattr(client, name), getattr(acl, name))


class SecretTests(SynchronousTestCase):
    """Reading secrets, and not showing them."""

    def test_a_secret_is_read_from_the_environment(self) -> None:
        """A variable has it."""
        self.assertEqual(read_secret("env:SECRET", {"SECRET": "u:p"}), b"u:p")

    def test_a_secret_is_read_from_a_file(self) -> None:
        """A file has it, without the line break at its end."""
        path = self.mktemp()
        for written in (b"u:p", b"u:p\n", b"u:p\r\n"):
            with open(path, "wb") as file:
                file.write(written)
            self.assertEqual(read_secret(f"file:{path}"), b"u:p")

    def test_a_missing_secret_names_its_source(self) -> None:
        """A missing secret is an error that names its source, unless that may be the secret."""
        with self.assertRaisesRegex(ValueError, "env:SECRET is empty, or not set"):
            read_secret("env:SECRET", {})
        with self.assertRaises(OSError):
            read_secret(f"file:{self.mktemp()}")
        with self.assertRaises(ValueError) as caught:
            read_secret("hunter2")
        self.assertNotIn("hunter2", str(caught.exception))

    def test_a_representation_has_no_secret(self) -> None:
        """The repr of SASL settings has no password."""
        self.assertNotIn("hunter2", repr(DigestMD5("u", "hunter2")))


class CountersTests(SynchronousTestCase):
    """The histogram's cells."""

    @given(st.floats(0, 100))
    def test_a_reply_is_counted_in_its_cell(self, seconds: float) -> None:
        """A reply is counted in the cell whose bounds it is between."""
        counters = ClientCounters()
        counters.replied(seconds)
        cell = counters.latency.index(1)
        lower = LATENCY_BOUNDS[cell - 1] if cell else 0.0
        upper = LATENCY_BOUNDS[cell] if cell < len(LATENCY_BOUNDS) else float("inf")
        self.assertLessEqual(lower, seconds + 1e-9)
        self.assertLess(seconds, upper + 1e-9)
        self.assertEqual(sum(counters.latency), 1)

    def test_a_snapshot_does_not_change(self) -> None:
        """Later counts do not change a snapshot."""
        counters = ClientCounters()
        counters.refused(-101)
        before = counters.snapshot(0, 0, 0)
        counters.refused(-101)
        counters.replied(0.1)
        self.assertEqual((before.errors, before.replies), ({-101: 1}, 0))


class OrderTests(SynchronousTestCase):
    """The order of the servers, and the pauses."""

    ADDRESSES = tuple(Address(f"h{number}", 1) for number in range(5))

    def test_each_round_has_every_server_once(self) -> None:
        """A round has each server once, and begins after the last one that was tried."""
        order = ServerOrder(self.ADDRESSES, Random(1))
        first = next(order.round())
        second = list(order.round())
        self.assertCountEqual(second, self.ADDRESSES)
        self.assertEqual(second[-1], first)

    def test_the_preferred_server_is_first(self) -> None:
        """A round begins with the preferred server."""
        order = ServerOrder(self.ADDRESSES, Random(1))
        for address in self.ADDRESSES:
            order.prefer(address)
            self.assertEqual(next(order.round()), address)

    @given(st.floats(0.001, 1000), st.integers())
    def test_the_backoff_is_bounded(self, timeout: float, seed: int) -> None:
        """Waits grow from almost nothing to a tenth of the session, and never beyond 5 s."""
        backoff = reconnect_backoff(timeout, Random(seed))
        limit = min(5.0, max(0.1, timeout / 10))
        waits = [backoff.next() for _ in range(20)]
        self.assertLessEqual(waits[0], 0.05)
        self.assertTrue(all(0 < wait <= limit for wait in waits), waits)
        self.assertGreaterEqual(waits[-1], limit / 2)
        backoff.reset()
        self.assertLessEqual(backoff.next(), 0.05)


class CallTests(SynchronousTestCase):
    """A request with a Deferred."""

    def test_reply_that_cannot_be_read(self) -> None:
        """Any error in reading a reply fails the request's Deferred."""

        def broken(reply: bytes) -> None:
            raise ZeroDivisionError

        call = Call(OpCode.GET_DATA, "/a", b"", broken)
        waiting = call.deferred
        assert waiting is not None
        call.succeed(bytes(16))
        self.failureResultOf(waiting, ZeroDivisionError)


class FourLetterTests(ClientTestCase):
    """Four-letter words."""

    def test_whole_reply_is_returned(self) -> None:
        """The whole reply is returned, and the connection is closed."""
        reply = four_letter_word(f"{HOST}:{PORT}", "srvr", reactor=self.network)
        text = self.result(reply)
        self.assertIn("Mode: standalone", text)
        self.network.settle()
        self.assertFalse(self.cable.up)

    def test_the_word_may_be_bytes(self) -> None:
        """The word may be bytes, as it is for kazoo's ``command``."""
        reply = four_letter_word(f"{HOST}:{PORT}", b"ruok", reactor=self.network)
        self.assertEqual(self.result(reply), "imok")
        call = four_letter_word(f"{HOST}:{PORT}", None, reactor=self.network)  # type: ignore[arg-type]
        self.assertIn(
            "expected a word of four letters, got None", str(self.failure(call, ValueError))
        )

    def test_an_unknown_word_fails(self) -> None:
        """A server closes the connection on an unknown word."""
        reply = four_letter_word(f"{HOST}:{PORT}", "what", reactor=self.network)
        self.assertIn("'what'", str(self.failure(reply, ProtocolError)))

    def test_all_addresses_are_tried(self) -> None:
        """The server may listen on another address of the name than the first one."""
        self.network.names["zk"] = ["::1", HOST]
        self.assertIn("Mode", self.result(four_letter_word("zk", "srvr", reactor=self.network)))
        self.network.names["nobody"] = ["::1", "10.9.9.9"]
        reply = four_letter_word("nobody", "srvr", reactor=self.network)
        self.assertIn("refused", str(self.failure(reply, ConnectionRefusedError)))

    def test_a_share_of_the_time_for_each(self) -> None:
        """An address that does not respond leaves time for the next one."""
        self.network.names["zk"] = ["::1", HOST]
        self.network.black_holes.add(("::1", PORT))
        reply = four_letter_word("zk", "srvr", timeout=2, reactor=self.network)
        self.network.advance(1.1)
        self.assertIn("Mode", self.result(reply))

    def test_cancelling_stops_at_the_current_address(self) -> None:
        """A cancelled call does not try the next address."""
        self.network.names["zk"] = ["::1", HOST]
        self.network.black_holes.add(("::1", PORT))
        reply = four_letter_word("zk", "srvr", reactor=self.network)
        reply.cancel()
        self.network.settle()
        self.assertEqual(self.network.attempts, [("::1", PORT)])
        reply.addErrback(lambda failure: None)

    def test_a_missing_reply_times_out(self) -> None:
        """A reply that does not arrive is a time-out."""
        self.server.pause()
        reply = four_letter_word(f"{HOST}:{PORT}", "ruok", timeout=2, reactor=self.network)
        self.network.advance(2.1)
        self.assertIn("within 2 s", str(self.failure(reply, ConnectTimeoutError)))
        self.server.resume()

    def test_invalid_words_and_hosts_are_refused(self) -> None:
        """The word must have four letters, and the string one host."""
        for host, word in ((HOST, "ru ok"), (HOST, "häßl"), ("a,b", "ruok"), ("", "ruok")):
            self.failure(four_letter_word(host, word, reactor=self.network), ValueError)
        self.assertEqual(self.network.attempts, [])


class LogTests(ClientTestCase):
    """Secrets and the log."""

    def test_no_secrets_are_logged(self) -> None:
        """No event and no repr has a password or a session password."""
        with capturedLogs() as events:
            client = self.connected(auth=[("digest", "user:hunter2")])
            assert client.client_id is not None
            secrets = ["hunter2", repr(client.client_id[1]), client.client_id[1].hex()]
            self.server.expire(client.client_id[0])
            self.network.advance(1)
            Logger().info("{client} {session}", client=client, session=client._manager.session)
        self.assertGreater(len(events), 3)
        for event in events:
            shown = eventAsText(event) + repr(event)
            for secret in secrets:
                self.assertNotIn(secret, shown)
