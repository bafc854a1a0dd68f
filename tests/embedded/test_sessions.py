"""The handshake and the life of a session."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.embedded.raw_client import NOON, RawClient, connected_client, framed, started
from zkservice.embedded.connection import Session
from zkservice.embedded.sessions import SessionTracker, first_session_id
from zkservice.embedded.transaction import Transaction
from zkservice.wire.acl import OPEN_ACL_UNSAFE
from zkservice.wire.jute import encode
from zkservice.wire.records import (
    CloseSession,
    ConnectRequest,
    CreateTTLRequest,
    DeleteRequest,
    ExistsRequest,
    GetChildrenRequest,
    GetDataRequest,
    Xid,
)


class HandshakeTests(SynchronousTestCase):
    """The first frame and its answer."""

    @override
    def setUp(self) -> None:
        self.server, self.clock = started(tick_time=0.5)

    def greet(self, request: ConnectRequest) -> RawClient:
        """Send a handshake."""
        one = RawClient(self.server)
        one.send(framed(encode(request)))
        return one

    def test_response_has_the_read_only_byte_if_the_request_has(self) -> None:
        """A client gets the read-only byte only if it sent one."""
        with_byte = self.greet(ConnectRequest(0, 0, 6000, 0, bytes(16), False)).frames()
        without = self.greet(ConnectRequest(0, 0, 6000, 0, bytes(16))).frames()
        self.assertEqual([len(frame) for frame in with_byte + without], [37, 36])

    def test_the_protocol_version_of_the_reply_is_0(self) -> None:
        """The version is 0, whatever version the client sends."""
        (frame,) = self.greet(ConnectRequest(7, 0, 6000, 0, bytes(16), False)).frames()
        self.assertEqual(frame[:4], bytes(4))

    def test_timeouts_are_2_to_20_ticks(self) -> None:
        """Time-outs are 2 to 20 ticks, whatever is asked for."""
        asked = [1, 0, -5, 1001, 5000, 100_000, 2**31 - 1]
        got = [RawClient(self.server).hello(timeout).timeout for timeout in asked]
        self.assertEqual(got, [1000, 1000, 1000, 1001, 5000, 10_000, 10_000])

    def test_new_sessions_have_ascending_ids(self) -> None:
        """Ids grow and carry the server's number; passwords have 16 bytes and differ."""
        answers = [RawClient(self.server).hello() for _ in range(3)]
        ids = [answer.session_id for answer in answers]
        self.assertEqual(ids, [ids[0], ids[0] + 1, ids[0] + 2])
        self.assertEqual(ids[0] >> 56, 1)
        self.assertEqual({len(answer.password or b"") for answer in answers}, {16})
        self.assertEqual(len({answer.password for answer in answers}), 3)

    def test_password_of_a_new_session(self) -> None:
        """Null, short and empty passwords are good enough for a new session."""
        for password in (None, b"", b"x"):
            self.assertGreater(RawClient(self.server).hello(password=password).timeout, 0)

    def test_a_client_from_the_future_is_dropped(self) -> None:
        """A client that has seen a later transaction is disconnected without a reply."""
        one = self.greet(ConnectRequest(0, self.server.statistics().zxid + 1, 6000, 0, b"", False))
        self.assertEqual((one.read(), one.connected), (b"", False))

    def test_malformed_connect_request_closes_the_connection(self) -> None:
        """A first frame that is not a handshake closes the connection without a reply."""
        one = RawClient(self.server)
        one.send(framed(b"nonsense"))
        self.assertEqual((one.read(), one.connected), (b"", False))
        self.assertEqual(self.server.statistics().sessions, 0)

    def test_requests_behind_the_handshake_are_answered(self) -> None:
        """Requests right behind the handshake are answered right behind its answer."""
        one = RawClient(self.server)
        hello = framed(encode(ConnectRequest(0, 0, 6000, 0, bytes(16), False)))
        one.send(hello + one.request(GetChildrenRequest("/", False)))
        sizes = [len(frame) for frame in one.frames()]
        self.assertEqual((sizes[0], len(sizes), one.transport.writes), (37, 2, 1))

    def test_a_client_without_a_handshake_is_dropped(self) -> None:
        """A connection without a handshake is closed after at most ten seconds and a tick."""
        one = RawClient(self.server)
        self.clock.pump([0.5] * 19)
        self.assertTrue(one.connected)
        self.clock.pump([0.5] * 3)
        self.assertFalse(one.connected)

    def test_half_a_word(self) -> None:
        """Even the first four bytes may come one by one."""
        one = RawClient(self.server)
        for byte in framed(encode(ConnectRequest(0, 0, 6000, 0, bytes(16), False))):
            one.send(bytes([byte]))
        self.assertEqual([len(frame) for frame in one.frames()], [37])


class ReattachTests(SynchronousTestCase):
    """The same session on another connection."""

    @override
    def setUp(self) -> None:
        self.server, self.clock = started(tick_time=0.5)
        self.first = RawClient(self.server)
        self.session = self.first.hello()
        self.first.create("/ephemeral", flags=1)

    def refused(self, **hello: object) -> RawClient:
        """A handshake that gets session 0 in reply, and a closed connection."""
        one = RawClient(self.server)
        answer = one.hello(**hello)  # type: ignore[arg-type]
        self.assertEqual(
            (answer.timeout, answer.session_id, answer.password, one.connected),
            (0, 0, bytes(16), False),
        )
        return one

    def again(self, timeout: int = 6000) -> RawClient:
        """Take the session up again."""
        one = RawClient(self.server)
        answer = one.hello(timeout, self.session.session_id, self.session.password)
        self.assertEqual(answer.session_id, self.session.session_id)
        self.assertEqual(answer.password, self.session.password)
        return one

    def test_a_session_moves_to_the_new_connection(self) -> None:
        """Id and password stay, ephemerals stay, the earlier connection is closed."""
        second = self.again()
        self.assertFalse(self.first.connected)
        self.assertEqual(second.call(ExistsRequest("/ephemeral", False)).err, 0)

    def test_a_lost_connection_can_be_resumed(self) -> None:
        """A session whose connection broke can be taken up."""
        self.first.lose()
        self.assertTrue(self.again().connected)

    def test_the_timeout_is_negotiated_again(self) -> None:
        """Each time the time-out is what was asked for last."""
        self.again(1000)
        self.clock.pump([0.5] * 4)
        self.assertEqual(self.server.statistics().sessions, 0)

    def test_a_wrong_password_closes_the_earlier_connection_too(self) -> None:
        """It is refused, and yet the earlier connection is closed; the session lives."""
        self.refused(session_id=self.session.session_id, password=b"wrong password!!")
        self.assertFalse(self.first.connected)
        self.again()

    def test_empty_passwords_are_wrong(self) -> None:
        """Null and empty are wrong passwords."""
        for password in (None, b""):
            self.refused(session_id=self.session.session_id, password=password)

    def test_unknown_session_is_refused(self) -> None:
        """A session that never was is refused."""
        self.refused(session_id=0x1234, password=self.session.password)

    def test_expired_session_is_refused(self) -> None:
        """A session that has expired is refused."""
        self.server.expire(self.session.session_id)
        self.refused(session_id=self.session.session_id, password=self.session.password)

    def test_closed_session_is_refused(self) -> None:
        """A session that was closed is refused."""
        self.first.call(CloseSession())
        self.refused(session_id=self.session.session_id, password=self.session.password)

    def test_identities_are_gone(self) -> None:
        """What the earlier connection proved does not hold for the next one."""
        self.first.authenticate("digest", b"u:p")
        second = self.again()
        connection = self.server.state.sessions.get(self.session.session_id)
        assert connection is not None and connection.connection is not None
        self.assertEqual(connection.connection.identities.names(), [("ip", "127.0.0.1")])
        self.assertTrue(second.connected)


class ExpiryTests(SynchronousTestCase):
    """Sessions end when they are not heard of."""

    @override
    def setUp(self) -> None:
        self.server, self.clock = started(tick_time=0.5)
        self.one = connected_client(self.server, timeout=2000)
        self.one.create("/ephemeral", flags=1)
        self.other = connected_client(self.server, timeout=10_000)
        self.other.call(ExistsRequest("/ephemeral", True))

    def test_after_the_timeout(self) -> None:
        """Not before the time-out and not later than a tick after it; nothing is sent."""
        self.one.read()
        self.clock.pump([0.25] * 8)
        self.assertTrue(self.one.connected)
        self.clock.pump([0.25] * 2)
        self.assertEqual((self.one.read(), self.one.connected), (b"", False))
        self.assertEqual(self.other.told(), [(2, "/ephemeral")])

    def test_ephemerals_outlive_a_lost_connection(self) -> None:
        """A broken connection ends nothing: ephemerals stay for the time-out."""
        self.one.lose()
        self.clock.pump([0.25] * 8)
        self.assertEqual(self.other.told(), [])
        self.clock.pump([0.25] * 2)
        self.assertEqual(self.other.told(), [(2, "/ephemeral")])

    def test_pings_keep_it(self) -> None:
        """A ping each third of the time-out keeps a session for ever."""
        for _ in range(100):
            self.clock.pump([0.2, 0.2, 0.2])
            self.one.ping()
        self.assertTrue(self.one.connected)

    def test_requests_keep_it(self) -> None:
        """Any request does."""
        for _ in range(20):
            self.clock.pump([0.6, 0.6])
            self.one.call(GetDataRequest("/", False))
        self.assertTrue(self.one.connected)

    def test_part_of_a_frame_does_not(self) -> None:
        """Half a request is not carried out."""
        for _ in range(4):
            self.clock.pump([0.5])
            self.one.send(b"\0")
        self.clock.pump([0.5])
        self.assertFalse(self.one.connected)

    def test_a_late_tick_reads_first(self) -> None:
        """After a standstill, what clients sent in the meantime counts."""
        later: list[object] = []
        # The reactor comes to us late, and to the sockets before it comes to us again.
        self.clock.rightNow += 30
        self.clock.callLater(0, lambda: later.append(self.one.ping()))
        self.clock.advance(0)
        self.assertEqual((len(later), self.one.connected, self.other.connected), (1, True, False))

    def owner(self, path: str) -> int:
        """The session that owns an ephemeral node."""
        node = self.server.node(path)
        assert node is not None
        return node.stat.ephemeral_owner

    def test_expire_by_hand(self) -> None:
        """Tests can end a session; a second time there is nothing to end."""
        session_id = self.owner("/ephemeral")
        self.assertEqual([self.server.expire(session_id) for _ in range(2)], [True, False])
        self.assertFalse(self.one.connected)
        self.assertEqual(self.other.told(), [(2, "/ephemeral")])

    def test_dropped_connection_keeps_its_session(self) -> None:
        """Tests can break a connection; the session stays."""
        session_id = self.owner("/ephemeral")
        self.assertEqual([self.server.drop(session_id) for _ in range(2)], [True, False])
        self.assertFalse(self.one.connected)
        self.assertEqual(self.other.call(ExistsRequest("/ephemeral", False)).err, 0)

    @given(
        st.floats(0.01, 5),
        st.floats(0.01, 60),
        st.floats(0, 1e9),
    )
    def test_session_expires_within_a_tick_of_its_timeout(
        self, tick: float, timeout: float, now: float
    ) -> None:
        """Whatever the numbers, a session ends in (time-out, time-out + tick]."""
        sessions = SessionTracker(tick, 1, b"")
        session = sessions.create(timeout, now)
        slack = 1e-6 * max(now, 1)
        self.assertEqual(sessions.expired(now + timeout - slack), [])
        self.assertEqual(sessions.expired(now + timeout + tick + slack), [session])


class CloseTests(SynchronousTestCase):
    """The client ends its session."""

    def test_close_answers_earlier_requests_and_deletes_ephemerals(self) -> None:
        """What came before is answered, ephemerals go, the close is answered, then the end."""
        server, _ = started()
        one, other = connected_client(server), connected_client(server)
        one.create("/ephemeral", flags=1)
        one.call(ExistsRequest("/ephemeral", True))
        other.call(ExistsRequest("/ephemeral", True))
        read, close, late = GetDataRequest("/ephemeral", False), CloseSession(), CloseSession()
        one.send(b"".join(one.request(request) for request in (read, close, late)))
        replies = one.replies([read, close, late])
        self.assertEqual([(reply.xid, reply.err) for reply in replies], [(3, 0), (4, 0)])
        self.assertEqual([event.type for event in one.events], [2])
        self.assertEqual((one.connected, other.told()), (False, [(2, "/ephemeral")]))
        self.assertEqual(server.statistics().sessions, 1)

    def test_many_ephemerals_one_transaction(self) -> None:
        """All ephemerals of a session go at once, whatever their number."""
        server, _ = started()
        one, other = connected_client(server), connected_client(server)
        one.create("/parent")
        for number in range(3):
            one.create(f"/parent/{number}", flags=1)
        other.call(GetChildrenRequest("/parent", True))
        reply = one.call(CloseSession())
        stat = other.call(GetDataRequest("/parent", False)).body.stat
        self.assertEqual((stat.pzxid, stat.num_children), (reply.zxid, 0))
        self.assertEqual([event.type for event in other.events], [4])

    def test_close_in_a_later_tick_is_not_a_sign_of_life(self) -> None:
        """Sessions that were closed leave nothing in the tracker, and others still expire."""
        server, clock = started(tick_time=0.5)
        for _ in range(3):
            one = connected_client(server, timeout=1000)
            clock.advance(0.75)
            one.call(CloseSession())
        silent = connected_client(server, timeout=1000)
        clock.pump([0.5] * 4)
        self.assertEqual((server.sessions(), silent.connected), ([], False))
        self.assertEqual(server.state.sessions.by_deadline(), [])


class CleanUpTests(SynchronousTestCase):
    """What ends with a session, or with time, does not wait for anything else to end well."""

    @override
    def setUp(self) -> None:
        self.server, self.clock = started(tick_time=0.5, reap_interval=1.0)
        self.one = connected_client(self.server)

    def fail_for(self, name: str) -> None:
        """Let the deletion of nodes with this name fail in its last step."""
        charge = Transaction._count_in_quota

        def fail(transaction: Transaction, path: str, nodes: int, size: int) -> None:
            if path.endswith(name) and nodes < 0:
                raise ZeroDivisionError
            charge(transaction, path, nodes, size)

        self.patch(Transaction, "_count_in_quota", fail)

    def test_failing_delete_does_not_stop_other_ephemerals(self) -> None:
        """One that cannot be deleted is logged, and does not keep the others."""
        other = connected_client(self.server)
        for path in ("/bad", "/good"):
            other.create(path, flags=1)
            self.one.call(ExistsRequest(path, True))
        self.fail_for("bad")
        other.call(CloseSession())
        self.assertIn((2, "/good"), self.one.told())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_failing_clean_up_does_not_stop_other_expiries(self) -> None:
        """A session that cannot be cleaned up does not keep others from expiring."""
        others = [connected_client(self.server) for _ in range(2)]
        end = self.server.state.end_session
        ended: list[Session] = []

        def fail_once(session: Session) -> None:
            ended.append(session)
            if len(ended) == 1:
                raise ZeroDivisionError
            end(session)

        self.patch(self.server.state, "end_session", fail_once)
        for _ in range(20):
            self.clock.advance(0.5)
            self.one.ping()
        self.assertEqual([other.connected for other in others], [False, False])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.server.sessions()), 1)

    def test_failing_reap_does_not_stop_others(self) -> None:
        """A node that cannot be reaped does not keep the others."""
        for path in ("/bad", "/good"):
            self.one.call(CreateTTLRequest(path, b"", list(OPEN_ACL_UNSAFE), 5, 1))
        self.fail_for("bad")
        for _ in range(4):
            self.clock.advance(0.5)
            self.one.ping()
        self.assertEqual(self.one.call(ExistsRequest("/good", False)).err, -101)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_request_that_fails_otherwise(self) -> None:
        """A change that fails unexpectedly leaves nothing behind, and ends its connection."""
        self.one.create("/a")
        self.fail_for("a")
        with self.assertRaises(ZeroDivisionError):
            self.one.call(DeleteRequest("/a", -1))
        self.assertIn("/a", self.server.tree())

    def test_end_that_is_not_read(self) -> None:
        """A connection that is over is cut when its client does not read the last of it."""
        transport = self.one.transport
        self.patch(transport, "loseConnection", lambda: None)  # it waits for the buffer
        aborted: list[bool] = []
        self.patch(transport, "abortConnection", lambda: aborted.append(True))
        self.one.send(self.one.request(CloseSession()))
        self.assertEqual(aborted, [])
        self.clock.pump([0.5] * 30)
        self.assertTrue(aborted)


class FirstIdTests(SynchronousTestCase):
    """Where session ids begin."""

    def test_as_java_makes_them(self) -> None:
        """The server's number, 40 bits of milliseconds, 16 bits of a counter."""
        session_id = first_session_id(NOON)
        self.assertEqual(session_id >> 56, 1)
        self.assertEqual(session_id & 0xFFFF, 0)
        self.assertEqual(session_id >> 16 & (1 << 40) - 1, int(NOON * 1000) % (1 << 40))

    def test_a_ping_is_answered_with_its_own_number(self) -> None:
        """A ping is answered with its own number, whatever number it had."""
        server, _ = started()
        one = connected_client(server)
        one.send(framed(b"\0\0\0\7\0\0\0\x0b"))
        (frame,) = one.frames()
        self.assertEqual(int.from_bytes(frame[:4], "big", signed=True), Xid.PING)
