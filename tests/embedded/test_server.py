"""The server as a whole: its modes, its limits, its life."""

from __future__ import annotations

import gc
import sysconfig
import tracemalloc

from twisted.internet.address import UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests import effort
from tests.embedded.raw_client import (
    NOON,
    Multi,
    RawClient,
    Reply,
    Transport,
    connected_client,
    framed,
    started,
)
from zkservice.embedded import ZooKeeperServer
from zkservice.embedded.server_state import first_zxid
from zkservice.embedded.settings import ServerSettings
from zkservice.errors import NoNodeError, QuotaExceededError
from zkservice.wire.acl import OPEN_ACL_UNSAFE
from zkservice.wire.jute import encode
from zkservice.wire.records import (
    AddWatchRequest,
    CloseSession,
    ConnectRequest,
    CreateContainerRequest,
    CreateRequest,
    CreateTTLRequest,
    DeleteRequest,
    ExistsRequest,
    GetDataRequest,
    SetACLRequest,
    SetDataRequest,
    SyncRequest,
)

OPEN = list(OPEN_ACL_UNSAFE)


class ReadOnlyTests(SynchronousTestCase):
    """A server that behaves as if it had lost its ensemble."""

    @override
    def setUp(self) -> None:
        self.server, self.clock = started(tick_time=0.5)
        self.before = RawClient(self.server)
        self.session = self.before.hello()
        self.before.create("/e", flags=1)
        self.server.read_only = True

    def refused(self) -> bool:
        """Whether a client that did not offer to be read-only is disconnected."""
        one = RawClient(self.server)
        one.send(framed(encode(ConnectRequest(0, 0, 6000, 0, bytes(16), False))))
        return one.read() == b"" and not one.connected

    def test_all_clients_have_to_reconnect(self) -> None:
        """The change ends all connections, both ways, and no session."""
        self.assertFalse(self.before.connected)
        reader = connected_client(self.server, read_only=True)
        self.server.read_only = False
        self.assertFalse(reader.connected)
        again = RawClient(self.server)
        hello = again.hello(session_id=self.session.session_id, password=self.session.password)
        self.assertEqual(hello.session_id, self.session.session_id)
        self.assertEqual(again.call(ExistsRequest("/e", False)).err, 0)

    def test_who_is_let_in(self) -> None:
        """Only clients that offered to be read-only are accepted, and the reply says so."""
        self.assertTrue(self.refused())
        self.assertEqual(RawClient(self.server).hello(read_only=True).read_only, True)
        self.server.read_only = False
        self.assertFalse(self.refused())
        self.assertEqual(RawClient(self.server).hello(read_only=True).read_only, False)

    def test_what_is_refused(self) -> None:
        """Writes, transactions and sync: -119, and no number is taken."""
        one = connected_client(self.server, read_only=True)
        zxid = self.server.statistics().zxid
        for request in (
            CreateRequest("/a", b"", OPEN, 0),
            CreateContainerRequest("/a", b"", OPEN, 4),
            DeleteRequest("/e", -1),
            SetDataRequest("/", b"", -1),
            SetACLRequest("/", OPEN, -1),
            SyncRequest("/"),
            Multi(),
        ):
            self.assertEqual(one.call(request).err, -119, request)
        self.assertEqual(one.call(GetDataRequest("/e", True)).err, 0)
        self.assertEqual((one.ping().err, self.server.statistics().zxid), (0, zxid))

    def test_sessions_do_not_expire(self) -> None:
        """Nobody can end a session meanwhile; afterwards all have their time-out again."""
        self.clock.pump([0.5] * 40)
        self.server.read_only = False
        self.clock.pump([0.5] * 11)
        self.assertEqual(self.server.statistics().ephemerals, 1)
        self.clock.pump([0.5] * 2)
        self.assertEqual(self.server.statistics().ephemerals, 0)

    def test_sessions_made_meanwhile(self) -> None:
        """They are gone when the mode ends."""
        one = RawClient(self.server)
        hello = one.hello(read_only=True)
        self.assertNotEqual(hello.session_id, 0)
        self.server.read_only = False
        answer = RawClient(self.server).hello(session_id=hello.session_id, password=hello.password)
        self.assertEqual(answer.session_id, 0)

    def test_read_only_server_ends_local_sessions_only(self) -> None:
        """Closing is answered; a real session cannot be ended, one made meanwhile is."""
        made = connected_client(self.server, read_only=True)
        real = RawClient(self.server)
        real.hello(
            session_id=self.session.session_id, password=self.session.password, read_only=True
        )
        for one in (made, real):
            self.assertEqual((one.call(CloseSession()).err, one.connected), (0, False))
        self.assertEqual(self.server.statistics().sessions, 1)

    def test_switching_it_on_again_changes_nothing(self) -> None:
        """To switch it on when it is on changes nothing."""
        reader = connected_client(self.server, read_only=True)
        self.server.read_only = True
        self.assertTrue(reader.connected)

    def test_nothing_is_reaped(self) -> None:
        """That would be a write; it is done afterwards."""
        self.server.read_only = False
        one = connected_client(self.server)
        one.call(CreateTTLRequest("/t", b"", OPEN, 5, 1))
        self.server.read_only = True
        self.clock.rightNow += 1
        self.server.reap()
        self.assertIn("/t", self.server.tree())
        self.server.read_only = False
        self.server.reap()
        self.assertNotIn("/t", self.server.tree())

    def test_isro_reports_the_mode(self) -> None:
        """The word for it."""
        asker = RawClient(self.server)
        asker.send(b"isro")
        self.assertEqual(asker.read(), b"ro")


def refused(server: ZooKeeperServer) -> RawClient:
    """A client that asks for a session, and gets none."""
    client = RawClient(server)
    client.send(framed(encode(ConnectRequest(0, 0, 6000, 0, bytes(16), False))))
    assert client.read() == b""
    return client


class LimitTests(SynchronousTestCase):
    """Which connections are accepted, and which are read."""

    def test_connections_are_unlimited_by_default(self) -> None:
        """By default there may be any number of connections."""
        server, _ = started()
        self.assertTrue(all(connected_client(server).connected for _ in range(200)))

    def test_connections_of_one_address(self) -> None:
        """The limit is per address; a closed connection makes room for another one."""
        server, _ = started(max_connections=2)
        first, _second = connected_client(server), connected_client(server)
        third, elsewhere = RawClient(server), RawClient(server, "10.0.0.1")
        self.assertEqual((third.connected, elsewhere.connected), (False, True))
        first.lose()
        self.assertTrue(connected_client(server).connected)

    def test_sessions_are_bounded(self) -> None:
        """A client without a session is refused as by a full server; those that have one are not.

        The warning comes once, and again only when there was room meanwhile.
        """
        server, _ = started(max_sessions=2)
        first = RawClient(server)
        session, second = first.hello(), connected_client(server)
        with capturedLogs() as logged:
            self.assertFalse(refused(server).connected or refused(server).connected)
        self.assertEqual(
            [formatEvent(event) for event in logged],
            ["refusing new sessions: there are 2 already, as many as max_sessions allows"],
        )
        first.lose()
        again = RawClient(server)
        hello = again.hello(session_id=session.session_id, password=session.password)
        self.assertEqual(hello.session_id, session.session_id)
        second.call(CloseSession())
        self.assertTrue(connected_client(server).connected)
        with capturedLogs() as logged:
            self.assertFalse(refused(server).connected)
        self.assertEqual(len(logged), 1)

    def test_watches_of_a_connection_are_bounded(self) -> None:
        """A request for one more fails, and sets none; one that is set already may be repeated."""
        for semantics in ("3.8", "3.9"):
            server, _ = started(max_watches=2, watch_semantics=semantics)
            one, other = connected_client(server), connected_client(server)
            for path in ("/a", "/b", "/b"):
                self.assertEqual(one.call(ExistsRequest(path, True)).err, NoNodeError.code)
            for request in (ExistsRequest("/c", True), GetDataRequest("/", True)):
                self.assertEqual(one.call(request).err, QuotaExceededError.code)
            self.assertEqual(one.call(AddWatchRequest("/c", 0)).err, QuotaExceededError.code)
            self.assertEqual(one.call(GetDataRequest("/", False)).err, 0)
            self.assertEqual(other.call(GetDataRequest("/", True)).err, 0)
            one.create("/a")  # the event makes room
            self.assertEqual(one.call(GetDataRequest("/", True)).err, 0)

    def test_bounds_can_be_switched_off(self) -> None:
        """0 is any number."""
        server, _ = started(max_sessions=0, max_watches=0)
        one = connected_client(server)
        self.assertEqual(one.call(GetDataRequest("/", True)).err, 0)

    def test_refusing_server_keeps_connected_clients(self) -> None:
        """With ``refuse`` set the server refuses new connections, and keeps the others."""
        server, _ = started()
        one = connected_client(server)
        server.refuse = True
        self.assertFalse(RawClient(server).connected)
        self.assertEqual(one.ping().err, 0)
        server.refuse = False
        self.assertTrue(connected_client(server).connected)

    def test_a_client_that_does_not_read_is_not_read(self) -> None:
        """A client that does not read its replies is not read until it reads again."""
        server, _ = started()
        one = connected_client(server)
        producer = one.transport.producer
        assert producer is not None
        producer.pauseProducing()
        self.assertEqual(one.transport.producerState, "paused")
        server.pause()
        producer.resumeProducing()
        self.assertEqual(one.transport.producerState, "paused")
        server.resume()
        self.assertEqual(one.transport.producerState, "producing")

    def test_events_that_are_not_read(self) -> None:
        """Events are queued for a client that reads nothing, until it is disconnected."""
        server, _ = started(max_frame=1000)
        one, other = connected_client(server), connected_client(server)
        one.call(AddWatchRequest("/", 1))
        other.create("/a")
        producer = one.transport.producer
        assert producer is not None
        producer.pauseProducing()
        for _ in range(200):
            other.call(SetDataRequest("/a", b"", -1))
        self.assertTrue(one.connected)
        producer.resumeProducing()
        producer.pauseProducing()
        for _ in range(600):
            other.call(SetDataRequest("/a", b"", -1))
        self.assertFalse(one.connected)
        self.assertLess(len(one.read()), 16 * 1000 + 200 * 50)

    def test_many_requests_of_a_client_that_does_not_read(self) -> None:
        """Megabytes of answers are not made before the client takes them; none is lost."""
        server, _ = started()
        one = connected_client(server)
        one.create("/big", bytes(100_000))
        transport = one.transport

        def write(data: bytes) -> None:
            """Be slow, as a socket with a full buffer."""
            Transport.write(transport, data)
            if transport.producer is not None and len(transport.value()) > 65536:
                transport.producer.pauseProducing()

        transport.write = write  # type: ignore[method-assign]
        requests = [GetDataRequest("/big", False) for _ in range(300)]
        many = b"".join(one.request(request) for request in requests)
        one.send(many[:4000])
        one.send(many[4000:])  # TLS may have this up its sleeve
        replies: list[Reply] = []
        portions = 0
        while transport.value():
            self.assertLess(len(transport.value()), 1_300_000)
            self.assertEqual(transport.producerState, "paused")
            replies += one.replies(requests[len(replies) :])
            portions += 1
            assert transport.producer is not None
            transport.producer.resumeProducing()
        self.assertEqual([reply.xid for reply in replies], list(range(2, 302)))
        self.assertEqual((portions > 20, transport.producerState), (True, "producing"))

    def test_many_requests_of_a_client_that_reads(self) -> None:
        """A transport that takes everything is given everything."""
        server, _ = started()
        one = connected_client(server)
        one.create("/big", bytes(100_000))
        requests = [GetDataRequest("/big", False) for _ in range(50)]
        one.send(b"".join(one.request(request) for request in requests))
        self.assertEqual(len(one.replies(requests)), 50)

    def test_gone_with_a_backlog(self) -> None:
        """A client that goes while its requests wait leaves nothing behind."""
        server, _ = started()
        one = connected_client(server)
        one.create("/big", bytes(600_000))
        transport = one.transport

        def write(data: bytes) -> None:
            assert transport.producer is not None
            transport.producer.pauseProducing()

        transport.write = write  # type: ignore[method-assign]
        one.send(b"".join(one.request(GetDataRequest("/big", False)) for _ in range(9)))
        producer = transport.producer
        assert producer is not None
        one.lose()
        producer.resumeProducing()
        self.assertEqual(server.statistics().received, 3)  # create, and two reads

    def test_invalid_settings_are_refused(self) -> None:
        """Settings that cannot be are refused when they are made."""
        for bad in (
            {"tick_time": 0.0},
            {"reap_interval": -1.0},
            {"min_session_timeout": 5.0, "max_session_timeout": 4.0},
        ):
            with self.assertRaises(ValueError):
                ServerSettings(**bad)  # type: ignore[arg-type]
        self.assertEqual(ServerSettings(min_session_timeout=0.1).negotiated(1), 0.1)

    def test_secrets_do_not_show(self) -> None:
        """Settings can be logged: passwords are not in their text."""
        self.assertNotIn("hidden", repr(ServerSettings(sasl_users={"u": "hidden"})))

    def test_a_client_may_come_over_a_unix_socket(self) -> None:
        """A caller need not have an internet address."""
        server, _ = started()
        address = UNIXAddress("/tmp/socket")
        protocol = server.factory.buildProtocol(address)
        assert protocol is not None
        protocol.makeConnection(StringTransport(peerAddress=address))
        (connection,) = server.state.connections
        self.assertEqual((connection.host, connection.port), ("unix", 0))


class PauseTests(SynchronousTestCase):
    """A server that stands still."""

    def test_nothing_expires_during_a_pause(self) -> None:
        """Meanwhile nothing is due; afterwards clients are read before sessions expire."""
        server, clock = started(tick_time=0.5)
        one = connected_client(server, timeout=1000)
        silent = connected_client(server, timeout=1000)
        server.pause()
        clock.pump([0.5] * 20)
        self.assertEqual((server.paused, server.statistics().sessions), (True, 2))
        self.assertEqual(one.transport.producerState, "paused")
        server.resume()
        one.ping()
        clock.advance(0)
        self.assertEqual((one.connected, silent.connected), (True, False))

    def test_new_connections_are_not_read_while_paused(self) -> None:
        """Who calls meanwhile is not read either."""
        server, _ = started()
        server.pause()
        self.assertEqual(RawClient(server).transport.producerState, "paused")

    def test_pausing_again_changes_nothing(self) -> None:
        """To pause what is paused changes nothing."""
        server, clock = started()
        server.resume()
        server.pause()
        server.pause()
        self.assertEqual(clock.getDelayedCalls(), [])
        server.resume()
        clock.advance(0)
        self.assertEqual(len(clock.getDelayedCalls()), 1)


class LifeTests(SynchronousTestCase):
    """Start and stop."""

    def test_server_refuses_before_its_start(self) -> None:
        """Creating a server starts nothing; connections before its start are closed."""
        clock = Clock()
        server = ZooKeeperServer(clock)
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertFalse(RawClient(server).connected)

    def test_stop_closes_connections_and_timers(self) -> None:
        """All connections end, and nothing is left in the reactor."""
        server, clock = started()
        server.start()  # once more: nothing changes
        one, greeting = connected_client(server), RawClient(server)
        self.assertEqual(len(clock.getDelayedCalls()), 1)
        self.successResultOf(server.stop())
        self.assertEqual((one.connected, greeting.connected), (False, False))
        self.assertEqual(clock.getDelayedCalls(), [])
        self.successResultOf(server.stop())

    def test_stop_waits_for_the_last_connection(self) -> None:
        """It is over when the last connection is."""
        server, _ = started()
        one = connected_client(server)
        one.transport.abortConnection = lambda: None  # type: ignore[method-assign]
        stopped = server.stop()
        self.assertNoResult(stopped)
        one.lose()
        self.successResultOf(stopped)

    def test_restart_in_memory_forgets_everything(self) -> None:
        """In memory a second start knows nothing of the first; old sessions are over."""
        server, clock = started()
        one = RawClient(server)
        hello = one.hello()
        one.create("/a")
        zxid = server.statistics().zxid
        server.stop()
        clock.rightNow += 1
        server.start()
        other = RawClient(server)
        answer = other.hello(session_id=hello.session_id, password=hello.password, last_zxid=zxid)
        self.assertEqual(answer.session_id, 0)
        fresh = RawClient(server)
        self.assertGreater(fresh.hello(last_zxid=zxid).session_id, hello.session_id)
        self.assertEqual(fresh.call(ExistsRequest("/a", False)).err, -101)

    def test_zxid_starts_with_the_time(self) -> None:
        """So clients that knew an earlier in-memory server are accepted."""
        server, _ = started()
        self.assertEqual(server.statistics().zxid >> 32, int(NOON))
        self.assertGreater(first_zxid(NOON + 0.001), first_zxid(NOON) + 4_000_000)

    def test_closed_clients_leave_no_memory(self) -> None:
        """Many clients come and go, and the memory is what it was."""
        server, _ = started()

        def visit(count: int) -> None:
            for number in range(count):
                one = connected_client(server)
                one.create("/e", flags=1)
                one.call(ExistsRequest(f"/{number}", True))
                one.call(CloseSession())

        visit(200)
        gc.collect()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        visit(100)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        clients = effort(10_000, 500)
        visit(clients)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        statistics = server.statistics()
        self.assertEqual((statistics.sessions, statistics.connections), (0, 0))
        self.assertEqual((statistics.watches, statistics.ephemerals), (0, 0))
        # A free-threaded Python frees the tables of dicts some time later.
        each = 1000 if sysconfig.get_config_var("Py_GIL_DISABLED") else 10
        self.assertLess(after - before, 20_000 + each * clients)
