"""Tests for sessions: connecting, losing a server, expiry, closing."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import product
from math import inf
from random import Random
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs, eventAsText
from typing_extensions import override

from tests.client.base import HOST, PORT, TIMEOUT, ClientTestCase, ignore_close
from tests.client.network import Cable
from zkservice.client import Retrying, ZooKeeperClient
from zkservice.errors import (
    AuthFailedError,
    ClientClosedError,
    ConnectionLossError,
    ConnectTimeoutError,
    ForkedError,
    OperationTimeoutError,
    SessionExpiredError,
    UnwritableError,
)
from zkservice.wire.acl import CREATOR_ALL_ACL, digest_acl
from zkservice.wire.frames import Framer
from zkservice.wire.hosts import Address
from zkservice.wire.records import OpCode
from zkservice.wire.session import State

CONNECTING, CONNECTED, SUSPENDED = State.CONNECTING, State.CONNECTED, State.SUSPENDED
EXPIRED, CLOSED, AUTH_FAILED = State.EXPIRED, State.CLOSED, State.AUTH_FAILED


def record_states(client: ZooKeeperClient) -> list[State]:
    """A list to which the client's states are appended from now on."""
    states: list[State] = []
    client.subscribe(states.append)
    return states


def ignore_loss(deferred: Deferred[Any]) -> None:
    """Ignore that a call fails with its connection."""
    deferred.addErrback(lambda failure: failure.trap(ConnectionLossError))


class ConnectTests(ClientTestCase):
    """The first connection."""

    def test_the_error_of_a_call_before_connect(self) -> None:
        """A call without `connect` fails with an error that says what to do."""
        error = self.failure(self.client().get("/a"), ClientClosedError)
        self.assertEqual(
            str(error),
            "/a: the ZooKeeper client is closed: connect() was not called, or close() was",
        )

    def test_block_closes_the_client(self) -> None:
        """A client can be used for a block, and is closed when the block ends or raises."""
        client = self.client()

        async def block() -> None:
            async with client as entered:
                self.assertIs(entered, client)
                await client.create("/e", ephemeral=True)
                raise ZeroDivisionError

        self.failure(Deferred.fromCoroutine(block()), ZeroDivisionError)
        self.assertIs(client.state, State.CLOSED)
        self.assertIsNone(self.result(self.connected().exists("/e")))

    def test_cancelling_a_block_closes_the_client(self) -> None:
        """A block that is cancelled before it begins closes its client."""
        client = self.client("10.9.9.9:1")

        async def block() -> None:
            async with client:
                self.fail("the client is connected")

        entering = Deferred.fromCoroutine(block())
        self.network.settle()
        entering.cancel()
        self.failure(entering, CancelledError)
        self.assertIs(client.state, State.CLOSED)

    def test_properties_follow_the_connection(self) -> None:
        """The properties of a client before, during and after a connection."""
        client = self.client()
        self.assertEqual(
            (client.state, client.client_id, client.server, client.session_timeout),
            (CLOSED, None, None, TIMEOUT),
        )
        self.result(client.connect())
        assert client.client_id is not None
        self.assertEqual([client.client_id[0]], self.server.sessions())
        self.assertEqual(len(client.client_id[1]), 16)
        self.assertEqual((client.state, client.server), (CONNECTED, Address(HOST, PORT)))
        self.assertIn("CONNECTED", repr(client))
        self.assertNotIn(repr(client.client_id[1]), repr(client))
        self.result(client.close())
        self.assertEqual((client.state, client.server), (CLOSED, None))

    def test_invalid_session_timeout_is_refused(self) -> None:
        """A session time-out must be positive, and fit into the request."""
        for timeout in (0, -1, 2**31 / 1000, float("inf"), float("nan"), None, "10"):
            with self.assertRaises(ValueError) as caught:
                ZooKeeperClient(HOST, timeout, reactor=self.network)  # type: ignore[arg-type]
            self.assertIn(f"below 24 days, not {timeout!r}", str(caught.exception))

    def test_invalid_arguments_are_refused_at_once(self) -> None:
        """Arguments that would make every attempt to connect fail are refused.

        The error does not show what may be a secret.
        """
        mistakes: list[tuple[dict[str, Any], str]] = [
            ({"tls": True}, "tls must be a TLS(...) or another callable, not bool"),
            ({"sasl": ("user", "secret")}, "sasl must be DigestMD5(user, password), not tuple"),
            ({"auth": ("digest", "u:secret")}, "such as [('digest', 'user:password')]"),
            ({"auth": "digest:u:secret"}, "such as [('digest', 'user:password')]"),
            ({"auth": [("digest",)]}, "such as [('digest', 'user:password')]"),
            ({"client_id": (1, "secret")}, "client_id must be a session's id and its password"),
            ({"client_id": 1}, "client_id must be a session's id and its password"),
        ]
        for options, expected in mistakes:
            with self.assertRaises(TypeError) as caught:
                self.client(**options)
            self.assertIn(expected, str(caught.exception))
            self.assertNotIn("secret", str(caught.exception))
        self.connected(auth=None, tls=None, sasl=None)

    def test_the_server_decides_the_timeout(self) -> None:
        """The session time-out is the one that the server has granted."""
        client = ZooKeeperClient(f"{HOST}:{PORT}", 1000.0, reactor=self.network)
        self.clients.append(client)
        self.result(client.connect())
        self.assertEqual(client.session_timeout, 20.0)

    def test_calls_wait_for_the_connection_in_order(self) -> None:
        """Calls can be made before the connection, and are carried out in their order."""
        client = self.client()
        ignore_close(client.connect())
        created, read = client.create("/a", b"1"), client.get("/a")
        self.assertEqual(self.result(read)[0], b"1")
        self.assertEqual(self.result(created), "/a")

    def test_second_connect_shares_the_connection(self) -> None:
        """Every `connect` fires with the client, and there is only one connection."""
        client = self.client()
        both = [client.connect(), client.connect()]
        for one in [*both, client.connect()]:
            self.assertIs(self.result(one), client)
        self.assertEqual(len(self.network.cables), 1)

    def test_again_after_close(self) -> None:
        """A closed client can be connected again, and then has another session."""
        client = self.connected()
        before = client.client_id
        self.result(client.close())
        self.result(client.connect())
        self.assertNotEqual(client.client_id, before)
        self.assertIsNotNone(self.result(client.exists("/")))

    def test_connect_times_out(self) -> None:
        """After the time-out the call fails with the reason, and the client stops."""
        self.network.listening.clear()
        client = self.client()
        connecting = client.connect(timeout=2.0)
        self.network.advance(2.1)
        error = self.failure(connecting, ConnectTimeoutError)
        self.assertIn("within 2 s", str(error))
        self.assertIn(f"({HOST}:{PORT})", str(error))
        self.assertIn("refused", str(error))
        self.assertIs(client.state, CLOSED)
        attempts = len(self.network.attempts)
        self.network.advance(60)
        self.assertEqual(len(self.network.attempts), attempts)

    def test_a_time_out_that_is_no_number_is_refused(self) -> None:
        """The error names the value; nothing is sent, and the client does not connect."""
        client = self.client()
        with self.assertRaisesRegex(TypeError, "number of seconds, not '5'"):
            client.connect(timeout="5")  # type: ignore[arg-type]
        self.assertIs(client.state, CLOSED)
        client = self.connected()
        with self.assertRaisesRegex(TypeError, "number of seconds, not '5'"):
            client.create("/a", timeout="5")  # type: ignore[arg-type]
        self.assertIsNone(self.result(client.exists("/a")))

    def test_an_acl_that_is_no_list_is_refused(self) -> None:
        """One entry without a list, or a flag in the place of the ACL, is an easy mistake."""
        client = self.connected()
        calls: list[Callable[[Any], object]] = [
            lambda acl: client.create("/a", b"", acl),
            lambda acl: client.ensure_path("/a/b", acl),
            lambda acl: client.set_acl("/", acl),
            lambda acl: client.transaction().create("/a", b"", acl),
            lambda acl: Retrying(client, reactor=self.network).create_ephemeral("/a", b"", acl),
            lambda acl: Retrying(client, reactor=self.network).create_protected("/a", b"", acl),
        ]
        for call in calls:
            with self.assertRaisesRegex(TypeError, r"list of entries, .* not ACL"):
                call(digest_acl("u", "p"))
            with self.assertRaisesRegex(TypeError, r"list of entries, .* not bool"):
                call(True)

    def test_data_that_are_not_bytes_are_refused(self) -> None:
        """The error names the type, and what to do about text."""
        client = self.connected()
        for data, expected in (("text", "encode it: 'text'"), ({"a": 1}, "bytes, not dict")):
            with self.assertRaisesRegex(TypeError, expected):
                client.create("/a", data)  # type: ignore[arg-type]

    def test_a_negative_timeout_is_over_at_once(self) -> None:
        """A negative time-out, which may have been computed, is a time-out at once."""
        late = self.client("10.9.9.9:1")
        self.failure(late.connect(timeout=-0.1), ConnectTimeoutError)
        client = self.connected()
        error = self.failure(client.get("/", timeout=-0.1), OperationTimeoutError)
        self.assertIn("/: no reply within 0 s", str(error))
        self.failure(client.add_auth("digest", "u:p", timeout=-0.1), OperationTimeoutError)
        self.result(client.get("/"))

    def test_a_missing_credential_is_not_sent(self) -> None:
        """A credential of None is an error, because a server would refuse the client."""
        client = self.connected()
        self.failure(client.add_auth("digest", None), UnwritableError)  # type: ignore[arg-type]
        with self.assertRaises(UnwritableError):
            self.client(auth=[("digest", None)])
        self.result(client.get("/"))

    def test_without_a_timeout_it_keeps_trying(self) -> None:
        """Without a time-out it keeps trying, and succeeds when there is a server."""
        self.network.listening.clear()
        client = self.client()
        connecting = client.connect()
        self.network.advance(900)
        self.assertNoResult(connecting)
        self.network.listen(HOST, PORT, self.server.factory)
        self.network.advance(1)
        self.assertIs(self.result(connecting), client)

    def test_cancelling_stops_the_waiting_not_the_trying(self) -> None:
        """Cancelling stops the waiting, not the trying."""
        client = self.client()
        connecting = client.connect()
        connecting.cancel()
        self.failure(connecting, CancelledError)
        self.network.settle()
        self.assertIs(client.state, CONNECTED)

    def test_refused_credentials_close_the_client(self) -> None:
        """An unknown scheme closes the client for good."""
        client = self.client(auth=[("nonsense", b"x")])
        states = record_states(client)
        connecting, call = client.connect(), client.get("/")
        error = self.failure(connecting, AuthFailedError)
        self.assertEqual(str(error), "the server refused the credentials of scheme 'nonsense'")
        self.failure(call, AuthFailedError)
        self.assertEqual(states, [CONNECTING, AUTH_FAILED])
        self.failure(client.get("/"), AuthFailedError)
        self.failure(client.connect(), AuthFailedError)
        attempts = len(self.network.attempts)
        self.network.advance(60)
        self.assertEqual(len(self.network.attempts), attempts)

    def test_a_credential_added_during_the_handshake(self) -> None:
        """A credential that is added during a handshake is presented, too."""
        client = self.client(auth=[("digest", "a:b")])
        added: list[Deferred[None]] = []

        def add_then(cable: Cable) -> None:
            real = cable.client.protocol.dataReceived

            def received(data: bytes) -> None:
                real(data)
                if not added:  # the ConnectResponse was read, the first identity is on its way
                    self.assertIs(client.state, CONNECTING)
                    added.append(client.add_auth("digest", "u:p"))

            cable.client.protocol.dataReceived = received

        self.network.on_connect = add_then
        self.result(client.connect())
        self.result(added[0])
        users = {one.id for one in self.result(client.who_am_i()) if one.scheme == "digest"}
        self.assertEqual(users, {"a", "u"})

    def test_a_session_can_be_resumed_by_another_client(self) -> None:
        """Another client can continue the session."""
        client = self.connected()
        self.result(client.create("/e", ephemeral=True))
        heir = self.client(client_id=client.client_id)
        self.result(heir.connect())
        self.assertEqual(heir.client_id, client.client_id)
        ignore_close(client.close())
        stat = self.result(heir.exists("/e"))
        assert stat is not None and heir.client_id is not None
        self.assertEqual(stat.ephemeral_owner, heir.client_id[0])


class ReconnectTests(ClientTestCase):
    """A connection that is lost is replaced; the session is the same."""

    def test_session_survives(self) -> None:
        """The session, its ephemeral nodes and credentials survive a lost connection."""
        client = self.connected()
        states = record_states(client)
        before = client.client_id
        self.result(client.add_auth("digest", "u:p"))
        self.result(client.create("/e", ephemeral=True, acl=CREATOR_ALL_ACL))
        self.cable.cut()
        self.assertIs(client.state, SUSPENDED)
        self.network.advance(0.2)
        self.assertEqual(states, [SUSPENDED, CONNECTED])
        self.assertEqual(client.client_id, before)
        self.assertIsNotNone(self.result(client.get("/e")))
        self.assertEqual(client.statistics().connections, 2)

    def test_order_on_the_wire(self) -> None:
        """After a reconnect, credentials are sent first, then watches, then the queued calls."""
        client = self.connected(auth=[("digest", "u:p")])
        for watch in (client.get_and_watch("/")[1], client.exists_and_watch("/missing")[1]):
            ignore_close(watch)
        self.result(client.add_watch("/", lambda event: None))
        self.cable.cut()
        waiting = client.get("/")
        self.network.advance(0.2)
        self.result(waiting)
        handshake, *requests = Framer(0xFFFFF).feed(bytes(self.cable.server.received))
        self.assertEqual(len(handshake), 45)
        codes = [int.from_bytes(request[4:8], "big") for request in requests]
        self.assertEqual(codes, [OpCode.AUTH, OpCode.SET_WATCHES2, OpCode.GET_DATA])

    def test_only_calls_that_were_sent_are_lost(self) -> None:
        """A call that was sent fails as maybe carried out; one that was not sent waits."""
        client = self.connected()
        self.server.pause()
        sent = client.create("/sent")
        self.network.settle()
        self.cable.cut()
        unsent = client.create("/unsent")
        error = self.failure(sent, ConnectionLossError)
        self.assertEqual((error.path, error.maybe_applied), ("/sent", True))
        self.assertIn("may have been carried out", str(error))
        self.server.resume()
        self.network.advance(1)
        self.assertEqual(self.result(unsent), "/unsent")

    def test_state_is_known_when_calls_fail(self) -> None:
        """A callback of a lost call sees the state SUSPENDED, and may make calls."""
        client = self.connected()
        self.server.pause()
        seen: list[State] = []
        sent = client.get("/")
        self.network.settle()

        def again(failure: object) -> Deferred[Any]:
            seen.append(client.state)
            return client.exists("/")

        sent.addErrback(again)
        self.cable.cut()
        self.server.resume()
        self.network.advance(1)
        self.assertIsNotNone(self.result(sent))
        self.assertEqual(seen, [SUSPENDED])

    def test_the_handshake_has_the_last_zxid(self) -> None:
        """The handshake has the last zxid that the client has seen."""
        client = self.connected()
        self.result(client.create("/a"))
        zxid = self.server.statistics().zxid
        self.cable.cut()
        self.network.advance(1)
        handshake = bytes(self.cable.server.received)
        self.assertEqual(int.from_bytes(handshake[8:16], "big"), zxid)

    def test_an_idle_client_pings_every_third_of_the_timeout(self) -> None:
        """An idle client pings every third of the time-out, and keeps its session."""
        client = self.connected()
        self.network.advance(TIMEOUT * 10)
        self.assertEqual(client.statistics().pings, 30)
        self.assertEqual(client.statistics().connections, 1)
        self.assertIs(client.state, CONNECTED)

    def test_silence_counts_from_the_last_answered_request(self) -> None:
        """It counts from the sending of the latest answered request or ping."""
        client = self.client()
        self.assertEqual(client.silence, inf)
        self.result(client.connect())
        self.assertEqual(client.silence, 0)
        self.network.advance(TIMEOUT / 3 - 0.5)
        self.assertEqual(client.silence, TIMEOUT / 3 - 0.5)
        self.network.advance(1)
        self.assertEqual(client.silence, 0.5)
        reading = client.get("/")
        self.network.run_due()
        self.network.stall(1)
        self.assertEqual(client.silence, 1.5)
        self.result(reading)
        self.assertEqual(client.silence, 1)

    def test_old_bytes_do_not_reset_silence(self) -> None:
        """Bytes that waited while the process was suspended do not reset it; a new ping does."""
        watcher, writer = self.connected(), self.connected()
        events: list[object] = []
        self.result(watcher.add_watch("/", events.append))
        cable = self.network.cables[0]
        self.network.advance(TIMEOUT / 3 - 0.1)
        cable.client.paused = True
        self.network.advance(0.2)
        self.assertEqual(watcher.statistics().pings, 1)
        self.result(writer.create("/a"))
        self.network.stall(TIMEOUT * 2 / 3)
        cable.client.paused = False
        cable.deliver()
        self.assertTrue(events)
        self.assertGreater(watcher.silence, TIMEOUT * 2 / 3)
        self.network.settle()
        self.assertLess(watcher.silence, 0.1)

    def test_a_silent_server_is_left(self) -> None:
        """The client leaves a server that is silent for two thirds of the time-out."""
        client = self.connected()
        self.server.pause()
        self.network.advance(TIMEOUT * 2 / 3 - 0.1)
        self.assertIs(client.state, CONNECTED)
        self.network.advance(0.2)
        self.assertIs(client.state, SUSPENDED)
        self.server.resume()
        self.network.advance(0.3)
        self.assertIs(client.state, CONNECTED)
        self.assertEqual(client.statistics().expiries, 0)

    def test_a_suspended_process_keeps_its_connection(self) -> None:
        """A process that was suspended reads first, and does not take the server for silent."""
        client = self.connected()
        read = client.get("/")
        self.network.run_due()
        self.network.stall(TIMEOUT * 0.9)
        self.result(read)
        self.network.advance(1)
        self.assertEqual(client.statistics().connections, 1)
        self.assertIs(client.state, CONNECTED)

    def test_ping_that_went_out_late(self) -> None:
        """A server has a third of the time-out to reply to a ping, even to a late one."""
        client = self.connected()
        self.network.stall(TIMEOUT * 0.66)
        self.cable.holding = True
        self.network.run_due()
        self.network.advance(TIMEOUT / 3 - 0.1)
        self.cable.holding = False
        self.network.advance(1)
        self.assertEqual(client.statistics().connections, 1)
        self.assertIs(client.state, CONNECTED)

    def test_late_ping_without_answer(self) -> None:
        """A late ping without a reply ends the connection after a third of the time-out."""
        client = self.connected()
        self.network.stall(TIMEOUT * 0.6)
        self.server.pause()
        self.network.advance(TIMEOUT / 3 + 0.1)
        self.assertIs(client.state, SUSPENDED)
        self.server.resume()

    def test_an_unread_reply_counts(self) -> None:
        """A reply that is unread when the time is up counts."""
        client = self.connected()
        self.cable.client.paused = True
        self.network.advance(TIMEOUT / 3 + 0.1)
        self.assertEqual(client.statistics().pings, 1)
        self.network.stall(TIMEOUT / 3)
        self.cable.client.paused = False
        self.network.settle()
        self.network.advance(1)
        self.assertEqual(client.statistics().connections, 1)
        self.assertIs(client.state, CONNECTED)

    def test_busy_client_leaves_a_silent_server(self) -> None:
        """Requests without a reply do not make a silent server look alive."""
        client = self.connected()
        self.server.pause()
        for _ in range(40):
            ignore_loss(client.get("/"))
            self.network.advance(TIMEOUT / 60)
        self.assertIs(client.state, CONNECTED)
        self.network.advance(0.1)
        self.assertIs(client.state, SUSPENDED)
        self.server.resume()

    def test_attempts_become_rarer(self) -> None:
        """Attempts become rarer, up to one in a tenth of the session's time-out."""
        client = self.connected()
        self.network.listening.clear()
        self.cable.cut()
        self.network.advance(4)
        early = len(self.network.attempts)
        self.network.attempts.clear()
        self.network.advance(60)
        self.assertLess(early, 20)
        self.assertTrue(90 <= len(self.network.attempts) <= 210, len(self.network.attempts))
        self.assertIs(client.state, CONNECTING)

    def test_a_long_outage_logs_a_few_lines(self) -> None:
        """An outage is logged with its reason, but not each attempt."""
        self.connected()
        listening = dict(self.network.listening)
        for _ in range(2):  # each outage is logged
            self.network.listening.clear()
            with capturedLogs() as logged:
                self.cable.cut()
                self.network.advance(120)
            self.assertTrue(2 <= len(logged) <= 5, [eventAsText(one) for one in logged])
            self.network.listening.update(listening)
            self.network.advance(2)

    def test_a_server_that_closes_connections_at_once_is_retried_less(self) -> None:
        """A server that accepts the session and closes the connection is retried less and less."""
        client = self.connected()
        states = record_states(client)

        def cut_soon(cable: Cable) -> None:
            self.network.callLater(0.01, cable.cut)

        self.network.on_connect = cut_soon
        self.cable.cut()
        self.network.advance(10)
        self.assertTrue(10 < states.count(CONNECTED) < 40, states.count(CONNECTED))
        self.network.on_connect = lambda cable: None
        self.network.advance(1)
        self.assertIs(client.state, CONNECTED)

    def test_the_next_host_resumes_the_session(self) -> None:
        """The next server is tried, and continues the session if it knows it."""
        client = self.connected("10.0.0.1:2181,10.0.0.2:2181")
        self.network.listen("10.0.0.2", PORT, self.server.factory)
        before, server = client.client_id, client.server
        assert server is not None
        del self.network.listening[server]
        self.cable.cut()
        self.network.advance(0.5)
        self.assertEqual(client.client_id, before)
        self.assertNotEqual(client.server, server)
        self.assertIs(client.state, CONNECTED)

    def test_clients_begin_with_different_servers(self) -> None:
        """Not all clients begin with the same server."""
        for number in (1, 2, 3):
            self.network.listen(f"10.0.0.{number}", PORT, self.server.factory)
        hosts = "10.0.0.1,10.0.0.2,10.0.0.3"
        servers = {self.connected(hosts, random=Random(seed)).server for seed in range(20)}
        self.assertEqual(len(servers), 3)

    def test_order_of_the_string(self) -> None:
        """With ``shuffle=False``, servers are tried in the order of the string and the resolver."""
        self.network.names["zk"] = ["10.0.0.9", "10.0.0.8", "10.0.0.7"]
        for seed in range(5):
            self.network.attempts.clear()
            self.connected(f"zk,10.0.0.2,{HOST}", shuffle=False, random=Random(seed))
            hosts = [host for host, _ in self.network.attempts]
            self.assertEqual(hosts, ["10.0.0.9", "10.0.0.8", "10.0.0.7", "10.0.0.2", HOST])

    def test_an_unresponsive_server_costs_only_its_share(self) -> None:
        """A server that does not respond costs only its share of the session's time-out."""
        self.network.black_holes.add(("10.0.0.9", PORT))
        clients = [self.client(f"10.0.0.9,{HOST}", random=Random(seed)) for seed in range(4)]
        connecting = [client.connect() for client in clients]
        self.network.advance(TIMEOUT / 2 + 0.1)
        for one in connecting:
            self.successResultOf(one)
        self.assertIn(("10.0.0.9", PORT), self.network.attempts)

    def test_server_that_never_answers_the_handshake(self) -> None:
        """A connection without a ConnectResponse times out, too."""
        self.server.pause()
        client = self.connecting()
        self.network.advance(TIMEOUT + 1)
        self.assertGreater(len(self.network.cables), 1)
        self.assertEqual(sum(cable.up for cable in self.network.cables), 1)
        self.assertIs(client.state, CONNECTING)
        self.server.resume()


class NamesTests(ClientTestCase):
    """Names are resolved by the reactor, before each attempt."""

    def test_all_addresses_are_tried(self) -> None:
        """A name may have several addresses; one that works is enough."""
        self.network.names["zk"] = ["10.0.0.7", "10.0.0.8", HOST]
        client = self.connected("zk:2181")
        self.assertEqual(client.server, Address("zk", PORT))

    def test_addresses_of_a_name_are_shuffled(self) -> None:
        """Not all clients begin with the first address behind a name."""
        addresses = [f"10.0.1.{number}" for number in range(5)]
        for address in addresses:
            self.network.listen(address, PORT, self.server.factory)
        self.network.names["zk"] = ["::1", "::2", *addresses]
        for seed in range(40):
            self.connected("zk", random=Random(seed))
        reached = [where for where, _ in self.network.attempts]
        self.assertEqual(set(reached), {"::1", "::2", *addresses})
        # The family that the resolver prefers comes first.
        self.assertEqual([":" in one for one in reached], [True, True, False] * 40)
        self.assertTrue({"::1", "::2"} == set(reached[::3]))

    def test_closed_between_addresses(self) -> None:
        """A client that is closed while one address is tried does not try the next one."""
        self.network.names["zk"] = ["10.0.0.7", "10.0.0.8"]
        self.network.black_holes |= {("10.0.0.7", PORT), ("10.0.0.8", PORT)}
        client = self.connecting("zk:2181")
        self.network.advance(0.5)
        self.result(client.close())
        self.network.advance(60)
        self.assertEqual(self.network.attempts, [("10.0.0.7", PORT)])

    def test_names_are_resolved_anew(self) -> None:
        """A server that has moved is found."""
        self.network.names["zk"] = [HOST]
        client = self.connected("zk")
        del self.network.listening[HOST, PORT]
        self.network.listen("10.0.0.5", PORT, self.server.factory)
        self.network.names["zk"] = ["10.0.0.5"]
        self.cable.cut()
        self.network.advance(1)
        self.assertIs(client.state, CONNECTED)
        self.assertEqual(self.network.lookups, ["zk", "zk"])

    def test_an_unknown_name_is_skipped(self) -> None:
        """A name that is unknown is skipped, until it is known."""
        client = self.connecting("zk")
        self.network.advance(5)
        self.network.names["zk"] = [HOST]
        self.network.advance(1)
        self.assertIs(client.state, CONNECTED)

    def test_ipv6_addresses_need_no_resolver(self) -> None:
        """IPv6 addresses need no resolver."""
        self.network.listen("::1", PORT, self.server.factory)
        self.connected("[::1]:2181")
        self.assertEqual(self.network.lookups, [])


class ExpiryTests(ClientTestCase):
    """An expired session is replaced by a new one, and subscribers are called."""

    def expire(self, client: ZooKeeperClient) -> None:
        """Expire the session on the server."""
        assert client.client_id is not None
        self.server.expire(client.client_id[0])
        self.network.settle()

    def test_states_of_an_expiry(self) -> None:
        """The states are reported in order, and the new session works."""
        client = self.connected()
        states, before = record_states(client), client.client_id
        self.result(client.create("/e", ephemeral=True))
        self.expire(client)
        self.network.advance(1)
        self.assertEqual(states, [SUSPENDED, EXPIRED, CONNECTING, CONNECTED])
        self.assertNotEqual(client.client_id, before)
        self.assertIsNone(self.result(client.exists("/e")))
        self.assertEqual(client.statistics().expiries, 1)

    def test_waiting_calls_fail(self) -> None:
        """Calls that waited for the old session are not carried out in the new one."""
        client = self.connected()
        self.expire(client)
        waiting = client.create("/a")
        self.network.advance(1)
        self.failure(waiting, SessionExpiredError)
        self.assertIsNone(self.result(client.exists("/a")))

    def test_calls_from_the_listener(self) -> None:
        """A call that a subscriber makes on EXPIRED is sent in the new session."""
        client = self.connected()
        created: list[Deferred[str]] = []

        def again(state: State) -> None:
            if state is EXPIRED:
                created.append(client.create("/again", ephemeral=True))

        client.subscribe(again)
        self.expire(client)
        self.network.advance(1)
        self.assertEqual(self.result(created[0]), "/again")
        stat = self.result(client.exists("/again"))
        assert stat is not None and client.client_id is not None
        self.assertEqual(stat.ephemeral_owner, client.client_id[0])

    def test_identities_are_kept(self) -> None:
        """The new session is authenticated as the old one was."""
        client = self.connected(auth=[("digest", "u:p")])
        self.expire(client)
        self.network.advance(1)
        self.result(client.create("/mine", acl=CREATOR_ALL_ACL))

    def test_the_own_clock_ends_a_session_without_servers(self) -> None:
        """Without a server, the session expires 4/3 of the time-out after the last bytes."""
        client = self.connected()
        states = record_states(client)
        last_bytes = self.network.seconds()
        self.network.listening.clear()
        self.cable.cut()
        self.network.advance(last_bytes + TIMEOUT * 4 / 3 - self.network.seconds() - 0.1)
        self.assertEqual(states, [SUSPENDED])
        self.network.advance(0.2)
        self.assertEqual(states, [SUSPENDED, EXPIRED, CONNECTING])

    def test_own_clock_switched_off(self) -> None:
        """With ``local_expiry=False``, only a server can expire the session."""
        client = self.connected(local_expiry=False)
        self.network.listening.clear()
        self.cable.cut()
        self.network.advance(TIMEOUT * 10)
        self.assertIs(client.state, SUSPENDED)

    def test_no_new_session(self) -> None:
        """With ``new_session=False``, no session follows an expired one."""
        client = self.connected(new_session=False)
        self.expire(client)
        self.network.advance(1)
        self.assertIs(client.state, EXPIRED)
        self.failure(client.get("/"), SessionExpiredError)
        self.failure(client.connect(), SessionExpiredError)
        attempts = len(self.network.attempts)
        self.network.advance(60)
        self.assertEqual(len(self.network.attempts), attempts)

    def test_another_session_is_no_answer(self) -> None:
        """A server that replies with another session's id has lost this one."""
        client = self.connected()
        states, before = record_states(client), client.client_id
        other = self.start_server("10.0.0.2")
        self.addCleanup(other.stop)

        def exchange(cable: Cable) -> None:
            # What a server does that does not know the id and makes a new session of it.
            real = cable.server.protocol.dataReceived
            cable.server.protocol.dataReceived = lambda data: real(
                data[:20] + bytes(8) + data[28:] if len(data) == 49 else data
            )

        self.network.on_connect = exchange
        self.cable.cut()
        self.network.advance(1)
        self.assertEqual(states, [SUSPENDED, EXPIRED, CONNECTING, CONNECTED])
        self.assertNotEqual(client.client_id, before)
        other.stop()

    def test_a_confirmed_session_is_not_expired(self) -> None:
        """A session that a server has just confirmed is not expired by the client's clock."""
        client = self.connected(auth=[("digest", "u:p")])
        states = record_states(client)
        listening = dict(self.network.listening)
        self.network.listening.clear()
        self.cable.cut()
        self.network.advance(TIMEOUT - 0.5)
        self.network.listening.update(listening)

        def answer_the_handshake_only(cable: Cable) -> None:
            cable.drop_after = 42

        self.network.on_connect = answer_the_handshake_only
        self.network.advance(0.6)
        self.network.on_connect = lambda cable: None
        self.network.advance(TIMEOUT - 0.6)
        self.assertEqual(states, [SUSPENDED, CONNECTED])


class Unresponsive(Protocol):
    """A server that closes connections, and may reply to ``srvr``."""

    answer = b""

    @override
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        if data == b"srvr":
            self.transport.write(self.answer)
        self.transport.loseConnection()


class WithoutQuorum(Unresponsive):
    """A member of an ensemble without a quorum (AbstractFourLetterCommand.java)."""

    answer = b"This ZooKeeper instance is not currently serving requests\n"


class SilenceTests(ClientTestCase):
    """Servers that close the connection in the handshake have lost their quorum or data."""

    HOSTS = (HOST, "10.0.0.2", "10.0.0.3")

    def suspended(self, protocol: type[Protocol], **options: Any) -> ZooKeeperClient:
        """A client with an ephemeral node, whose three servers then behave like ``protocol``."""
        for host in self.HOSTS[1:]:
            self.network.listen(host, PORT, self.server.factory)
        client = self.connected(",".join(self.HOSTS), **options)
        self.result(client.create("/e", ephemeral=True))
        self.become(protocol)
        self.cable.cut()
        return client

    def become(self, protocol: type[Protocol], *hosts: str) -> None:
        """Make some servers, or all, behave like a protocol."""
        for host in hosts or self.HOSTS:
            self.network.listen(host, PORT, Factory.forProtocol(protocol))

    def serve(self) -> None:
        """Make all servers serve again."""
        for host in self.HOSTS:
            self.network.listen(host, PORT, self.server.factory)

    def freeze_server(self) -> None:
        """Expire no session, like an ensemble without a quorum."""
        self.server.expires_sessions = False

    def assert_survived(self, client: ZooKeeperClient) -> None:
        """Assert that the session and its ephemeral node have survived."""
        self.assertIs(client.state, CONNECTED)
        self.assertEqual(client.statistics().expiries, 0)
        self.assertEqual(self.result(client.get_ephemerals()), ["/e"])

    def test_quorum_is_back_within_four_thirds(self) -> None:
        """If the quorum is back within 4/3 of the time-out, the session survives."""
        for protocol, local_expiry in product((WithoutQuorum, Unresponsive), (True, False)):
            self.freeze_server()
            client = self.suspended(protocol, local_expiry=local_expiry)
            self.network.advance(TIMEOUT * 1.25)
            self.serve()
            self.network.advance(1)
            self.assert_survived(client)
            self.result(client.close())

    def test_quorum_is_back_at_last(self) -> None:
        """With ``local_expiry=False``, the client waits for a quorum without a limit."""
        self.freeze_server()
        client = self.suspended(WithoutQuorum, local_expiry=False)
        self.network.advance(TIMEOUT * 10)
        self.serve()
        self.network.advance(1)
        self.assert_survived(client)

    def test_silence_of_all_servers(self) -> None:
        """If no server replies to ``srvr``, the session expires after 4/3 of the time-out."""
        client = self.suspended(Unresponsive, local_expiry=False)
        self.network.advance(TIMEOUT * 4 / 3 - 0.5)
        self.assertIs(client.state, SUSPENDED)
        self.network.advance(2)
        self.assertEqual(client.statistics().expiries, 1)

    def test_silence_of_some_servers(self) -> None:
        """The session survives while a server cannot be reached: it may have the data."""
        client = self.suspended(Unresponsive, local_expiry=False)
        del self.network.listening["10.0.0.2", PORT]
        self.network.advance(TIMEOUT * 5)
        self.assertIs(client.state, SUSPENDED)

    def test_silence_that_is_interrupted(self) -> None:
        """If a server fails in another way in between, the 4/3 count from then on."""
        client = self.suspended(Unresponsive, local_expiry=False)
        self.network.advance(TIMEOUT)
        self.become(WithoutQuorum, "10.0.0.3")
        self.network.advance(1)
        self.become(Unresponsive)
        self.network.advance(TIMEOUT)
        self.assertIs(client.state, SUSPENDED)
        self.network.advance(TIMEOUT / 2)
        self.assertEqual(client.statistics().expiries, 1)

    def test_too_many_connections(self) -> None:
        """A server that has the data and closes connections does not end the session."""
        client = self.suspended(self.serving_with(2**62), local_expiry=False)
        self.network.advance(TIMEOUT * 5)
        self.assertIs(client.state, SUSPENDED)
        self.become(self.serving_with(5))
        self.network.advance(TIMEOUT)
        self.become(self.serving_with(2**62))  # the server was only behind
        self.network.advance(TIMEOUT * 5)
        self.assertIs(client.state, SUSPENDED)

    def serving_with(self, zxid: int) -> type[Protocol]:
        """A server that closes the connection, although it serves, with data up to a zxid."""
        serving: type[Protocol] = type(
            "Serving", (Unresponsive,), {"answer": b"Zxid: %#x\nMode: follower\n" % zxid}
        )
        return serving

    def test_closing_cancels_the_question_to_a_server(self) -> None:
        """Closing the client cancels the question to the server, too."""

        class NoReply(Unresponsive):
            @override
            def dataReceived(self, data: bytes) -> None:
                if data != b"srvr":
                    super().dataReceived(data)

        client = self.suspended(NoReply, local_expiry=False)
        self.network.advance(0.3)
        self.result(client.close())
        attempts = len(self.network.attempts)
        self.network.advance(TIMEOUT)
        self.assertEqual(len(self.network.attempts), attempts)

    def test_lost_data_on_some(self) -> None:
        """One server that serves without the data is enough to end the session."""
        client = self.connected(f"{HOST},10.0.0.2", local_expiry=False)
        self.result(client.create("/a"))
        self.server.lose_data(5)
        self.cable.cut()
        self.network.advance(TIMEOUT * 4 / 3 + 2)
        self.assertEqual(client.statistics().expiries, 1)
        self.assertIs(client.state, CONNECTED)

    def test_servers_that_lost_data_end_the_session(self) -> None:
        """Servers that close the connection because they have older data end the session."""
        client = self.connected(local_expiry=False)
        states = record_states(client)
        self.result(client.create("/a"))
        self.server.lose_data(5)  # as if its disk was replaced
        self.cable.cut()
        self.network.advance(TIMEOUT * 4 / 3 - 0.5)
        self.assertEqual(states, [SUSPENDED])
        self.network.advance(2)
        self.assertEqual(states, [SUSPENDED, EXPIRED, CONNECTING, CONNECTED])


class CloseTests(ClientTestCase):
    """Closing is always possible and always ends."""

    def test_session_is_ended(self) -> None:
        """The server ends the session at once."""
        client = self.connected()
        self.assertEqual(len(self.server.sessions()), 1)
        self.result(client.close())
        self.assertEqual(len(self.server.sessions()), 0)

    def test_calls_before_it_are_answered(self) -> None:
        """Calls that were made before are completed; later ones fail."""
        client, other = self.connected(), self.connected()
        created = client.create("/a")
        closed = client.close()
        late = client.create("/b")
        self.assertEqual(self.result(created), "/a")
        self.failure(late, ClientClosedError)
        self.result(closed)
        self.assertIsNotNone(self.result(other.exists("/a")))

    def test_a_silent_server_is_not_waited_for_long(self) -> None:
        """A server that does not answer is not waited for long."""
        client = self.connected()
        self.server.pause()
        pending = client.get("/")
        closed = client.close()
        self.network.advance(1.9)
        self.assertNoResult(closed)
        self.network.advance(0.2)
        self.result(closed)
        self.failure(pending, ClientClosedError)
        self.server.resume()

    def test_closing_stops_a_client_that_is_connecting(self) -> None:
        """A client that is connecting stops."""
        self.network.listening.clear()
        client = self.client()
        connecting, call = client.connect(), client.get("/")
        self.network.advance(1)
        closed = client.close()
        self.failure(connecting, ClientClosedError)
        self.failure(call, ClientClosedError)
        self.result(closed)

    def test_closing_works_at_any_step_of_a_handshake(self) -> None:
        """A client can be closed at any byte of a handshake."""
        for moment in range(1, 120):
            client = self.client(auth=[("digest", "u:p")])

            def break_off(cable: Cable, moment: int = moment) -> None:
                cable.server_may_send = moment

            self.network.on_connect = break_off
            ignore_close(client.connect())
            self.network.settle()
            self.result(client.close())

    def test_closing_in_a_callback_of_add_auth(self) -> None:
        """A callback of `add_auth` may close the client while its connection is completed."""
        client = self.client()
        ignore_close(client.connect())
        closed: list[Deferred[None]] = []
        client.add_auth("digest", "u:p").addCallback(lambda _: closed.append(client.close()))
        self.network.settle()
        self.assertEqual([self.successResultOf(one) for one in closed], [None])
        self.assertIs(client.state, CLOSED)
        self.assertFalse(self.cable.up)

    def test_a_client_that_never_connected_closes(self) -> None:
        """Closing a client that never connected fires at once."""
        self.result(self.client().close())

    def test_second_close_is_fine(self) -> None:
        """A client that is closing or closed can be closed again."""
        client = self.connected()
        first, second = client.close(), client.close()
        self.result(first)
        self.result(second)
        self.result(client.close())

    def test_after_failed_auth(self) -> None:
        """A client whose credentials were refused can be closed."""
        client = self.client(auth=[("nonsense", b"x")])
        self.failure(client.connect(), AuthFailedError)
        self.result(client.close())
        self.assertIs(client.state, CLOSED)

    def test_a_suspended_client_closes(self) -> None:
        """A client whose server has gone can be closed; the ephemerals stay until expiry."""
        client = self.connected()
        self.network.listening.clear()
        self.cable.cut()
        self.result(client.close())


class ListenerTests(ClientTestCase):
    """Subscribers may call any method, and do not disturb each other."""

    def test_close_from_any_state(self) -> None:
        """A listener may close the client in every state."""
        for state in (CONNECTING, CONNECTED, SUSPENDED, EXPIRED):
            client = self.client()
            states = record_states(client)
            closed: list[Deferred[None]] = []

            def close_it(
                new_state: State,
                state: State = state,
                client: ZooKeeperClient = client,
                closed: list[Deferred[None]] = closed,
            ) -> None:
                if new_state is state:
                    closed.append(client.close())

            client.subscribe(close_it)
            ignore_close(client.connect())
            self.network.settle()
            if client.state is CONNECTED:
                assert client.client_id is not None
                self.server.expire(client.client_id[0])
                self.network.advance(1)
            self.result(closed[0])
            self.assertEqual(states[-2:], [state, CLOSED])

    def test_callbacks_are_called_in_order(self) -> None:
        """All callbacks get all states in the same order, even if one closes the client."""
        client = self.client()
        first = record_states(client)
        client.subscribe(lambda state: ignore_close(client.close()) if state is CONNECTED else None)
        last = record_states(client)
        ignore_close(client.connect())
        self.network.settle()
        self.assertEqual(first, [CONNECTING, CONNECTED, CLOSED])
        self.assertEqual(last, first)

    def test_a_broken_listener_does_not_disturb_others(self) -> None:
        """An exception in a listener is logged, and the other listeners are still called."""
        client = self.client()
        client.subscribe(lambda state: 1 / 0)
        states = record_states(client)
        self.result(client.connect())
        self.assertEqual(states, [CONNECTING, CONNECTED])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.result(client.close())
        self.flushLoggedErrors(ZeroDivisionError)

    def test_a_listener_may_be_a_coroutine(self) -> None:
        """A listener may be a coroutine function; its failure is logged."""
        client = self.client()

        async def broken(state: State) -> None:
            await client.get("/nope")

        client.subscribe(lambda state: broken(state) if state is CONNECTED else None)
        self.result(client.connect())
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_a_cancelled_listener_is_not_called(self) -> None:
        """A cancelled subscription is not called any more."""
        client = self.client()
        states: list[State] = []
        subscription = client.subscribe(states.append)
        self.result(client.connect())
        subscription.cancel()
        subscription.cancel()
        self.cable.cut()
        self.network.advance(1)
        self.assertEqual(states, [CONNECTING, CONNECTED])


class ForkTests(ClientTestCase):
    """A client belongs to the process that made it."""

    def test_calls_in_a_forked_child_are_refused(self) -> None:
        """In a forked child every call fails with advice, and nothing is sent."""
        client = self.connected()
        sent = len(self.cable.client.writes)
        with patch.object(os, "getpid", return_value=os.getpid() + 1):
            for call in (client.get("/"), client.close(), client.connect()):
                error = self.failure(call, ForkedError)
                self.assertIn("make a new one", str(error))
        self.assertEqual(len(self.cable.client.writes), sent)
        self.assertIs(client.state, CONNECTED)

    def test_connected_in_the_child(self) -> None:
        """A client that was made before the fork can be connected in the child."""
        client = self.client()
        with patch.object(os, "getpid", return_value=os.getpid() + 1):
            self.result(client.connect())
            self.assertIsNotNone(self.result(client.exists("/")))
            self.result(client.close())
