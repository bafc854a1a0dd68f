"""Tests with a real ensemble of three: what a client survives that a single server cannot show."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet import reactor as installed  # noqa: TID251 - real connections
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from typing_extensions import override

from zkservice.client import Retrying, ZooKeeperClient
from zkservice.errors import ConnectionLossError, SessionExpiredError
from zkservice.testing.apache import ApacheEnsemble, ApacheZooKeeper, skip_without_apache
from zkservice.wire.session import State
from zkservice.wire.watches import EventType

T = TypeVar("T")

reactor: Any = installed
# Seconds, of the sessions.  Two thirds of it are more than the 5 s (syncLimit) after which
# the other members give up a leader that is silent: the ensemble is whole when we move.  One third
# of it is time to do so on a busy machine.
TIMEOUT = 15.0
#: The members grant it.
LONG_SESSIONS = {"maxSessionTimeout": "60000"}


def sleep(seconds: float) -> Deferred[None]:
    """Wait in real time."""
    return deferLater(reactor, seconds, lambda: None)


@skip_without_apache
class EnsembleTests(TestCase):
    """Servers die, stop and come back; the session goes on."""

    timeout = 300

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        self.ensemble = ApacheEnsemble(configuration=LONG_SESSIONS)
        self.addCleanup(deferToThread, self.ensemble.remove)
        await deferToThread(self.ensemble.start)

    async def connect(self) -> ZooKeeperClient:
        """A client that is closed after the test."""
        client = ZooKeeperClient(self.ensemble.connection_string, TIMEOUT)
        self.addCleanup(client.close)
        return await client.connect(60)

    async def server_of(self, client: ZooKeeperClient) -> ApacheZooKeeper:
        """The member that a client is connected to, as soon as there is one."""
        while client.server is None:
            await sleep(0.02)
        port = client.server.port
        return next(member for member in self.ensemble.members if member.port == port)

    async def connected_again(self, client: ZooKeeperClient, connections: int) -> None:
        """Wait until a client has found another server."""
        while client.statistics().connections == connections or client.state is State.SUSPENDED:
            await sleep(0.02)

    async def test_killed_and_stopped(self) -> None:
        """Session, ephemerals and watches survive a killed server, and a stopped one."""
        client, other = await self.connect(), await self.connect()
        identity = client.client_id
        await client.create("/e", ephemeral=True)
        await client.create("/node")
        value, watch = client.get_and_watch("/node")
        await value

        member = await self.server_of(client)
        before = client.statistics().connections
        await deferToThread(member.kill)
        await self.connected_again(client, before)
        self.assertEqual(client.client_id, identity)
        self.assertEqual(await self.patiently(client.get_ephemerals), ["/e"])
        await self.patiently(other.set, "/node", b"changed")
        self.assertEqual((await watch).type, EventType.DATA_CHANGED)
        await deferToThread(member.start)

        member = await self.server_of(client)
        before = client.statistics().connections
        assert member.pid is not None
        os.kill(member.pid, signal.SIGSTOP)
        try:
            await self.connected_again(client, before)
        finally:
            os.kill(member.pid, signal.SIGCONT)
        self.assertEqual(client.client_id, identity)  # in time for another server
        self.assertEqual(await self.patiently(client.get_ephemerals), ["/e"])
        self.assertEqual(client.statistics().expiries, 0)

    async def patiently(self, ask: Callable[..., Deferred[T]], *words: Any) -> T:
        """The answer to a request, though servers come and go."""
        while True:
            try:
                return await ask(*words)
            except ConnectionLossError:
                continue

    async def test_a_rolling_restart_loses_no_acknowledged_write(self) -> None:
        """All three are restarted under 200 calls a second: what was acknowledged is there."""
        client = await self.connect()
        await client.create("/writes")
        acknowledged: set[str] = set()
        lost: list[Exception] = []
        asked: list[Deferred[Any]] = []

        def write() -> None:
            path = f"/writes/{len(asked)}"
            created = client.create(path)
            created.addCallbacks(acknowledged.add, lambda failure: lost.append(failure.value))
            asked.append(created)

        writing = LoopingCall(write)
        writing.start(0.005)
        try:
            for member in self.ensemble.members:
                await deferToThread(member.restart)
                await sleep(1.0)
        finally:
            writing.stop()
        for one in asked:
            await one
        names = await self.patiently(client.get_children, "/writes")
        there = {f"/writes/{name}" for name in names}
        self.assertEqual(acknowledged - there, set())
        self.assertGreater(len(acknowledged), len(asked) * 0.2)
        self.assertEqual({type(error) for error in lost} - {ConnectionLossError}, set())
        self.assertEqual(len(acknowledged) + len(lost), len(asked))
        self.assertEqual(client.statistics().expiries, 0)


@skip_without_apache
class OutageTests(TestCase):
    """A server that is away for longer than a session."""

    timeout = 300

    async def test_calls_outlast_the_session(self) -> None:
        """`Retrying` sends in the new session what waited in the old one; the client does not."""
        server = ApacheZooKeeper()
        self.addCleanup(deferToThread, server.remove)
        await deferToThread(server.start)
        client = ZooKeeperClient(server.connection_string, 4.0)
        self.addCleanup(client.close)
        await client.connect(60)
        await client.create("/a")
        retrying = Retrying(client)
        await deferToThread(server.stop)
        while client.state is not State.SUSPENDED:
            await sleep(0.02)
        plain = client.create("/plain")
        written = retrying.set("/a", b"1", 0)
        created = retrying.write(lambda: client.create("/b"))
        value, watch = retrying.get_and_watch("/a")
        await self.assertFailure(plain, SessionExpiredError)
        await sleep(0.5)
        await deferToThread(server.start)
        self.assertEqual((await written).version, 1)
        self.assertEqual(await created, "/b")
        self.assertEqual((await value)[0], b"1")
        self.assertIsNone(await client.exists("/plain"))
        self.assertEqual(client.statistics().expiries, 1)
        await client.set("/a", b"2")
        self.assertEqual((await watch).type, EventType.DATA_CHANGED)

    async def test_lost_data_is_noticed_without_a_clock(self) -> None:
        """Without a clock of its own the client finds out that a server has lost its data."""
        server = ApacheZooKeeper()
        self.addCleanup(deferToThread, server.remove)
        await deferToThread(server.start)
        client = ZooKeeperClient(server.connection_string, 10.0, local_expiry=False)
        self.addCleanup(client.close)
        await client.connect(60)
        for number in range(10):
            await client.create(f"/{number}")
        before = client.client_id
        await deferToThread(server.wipe)
        while client.state is not State.SUSPENDED:
            await sleep(0.02)
        await deferToThread(server.start)
        while client.server is None:
            await sleep(0.02)
        self.assertNotEqual(client.client_id, before)
        self.assertEqual(client.statistics().expiries, 1)
        self.assertIsNone(await client.exists("/0"))


@skip_without_apache
class QuorumTests(TestCase):
    """Two of three members are gone for longer than a session's time-out."""

    timeout = 300
    #: Seconds, of the sessions; between one and 4/3 of it there is time to start two members.
    session = 45.0

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        self.ensemble = ApacheEnsemble(configuration=LONG_SESSIONS)
        self.addCleanup(deferToThread, self.ensemble.remove)
        await deferToThread(self.ensemble.start)

    async def connect(self, **options: Any) -> ZooKeeperClient:
        """A client of one member, which is the last in the order of the string."""
        order = ",".join(member.connection_string for member in reversed(self.ensemble.members))
        client = ZooKeeperClient(order, self.session, shuffle=False, **options)
        self.addCleanup(client.close)
        return await client.connect(60)

    async def test_the_session_survives_without_a_quorum(self) -> None:
        """The ensemble still has the session, and the client goes on with it."""
        clients = [await self.connect(), await self.connect(local_expiry=False)]
        identities = [client.client_id for client in clients]
        for number, client in enumerate(clients):
            await client.create(f"/e{number}", ephemeral=True)
        gone = self.ensemble.members[:2]
        for member in gone:
            await deferToThread(member.kill)
        while any(client.state is State.CONNECTED for client in clients):
            await sleep(0.02)
        began = time.monotonic()
        await sleep(self.session * 1.02)
        for member in gone:
            member.launch()
        while any(client.state is not State.CONNECTED for client in clients):
            await sleep(0.02)
        self.assertGreater(time.monotonic() - began, self.session)
        self.assertEqual([client.client_id for client in clients], identities)
        self.assertEqual([client.statistics().expiries for client in clients], [0, 0])
        for number, client in enumerate(clients):
            self.assertEqual(await client.get_ephemerals(), [f"/e{number}"])


@skip_without_apache
class ReconfigTests(TestCase):
    """The members of an ensemble change."""

    timeout = 300

    async def test_a_member_leaves(self) -> None:
        """The new configuration is answered, and is what a reader finds afterwards."""
        ensemble = ApacheEnsemble(
            properties={"zookeeper.skipACL": "yes"},  # only an administrator may do it
            configuration={"reconfigEnabled": "true", "standaloneEnabled": "false"},
        )
        self.addCleanup(deferToThread, ensemble.remove)
        await deferToThread(ensemble.start)
        client = ZooKeeperClient(ensemble.connection_string, TIMEOUT)
        self.addCleanup(client.close)
        await client.connect(60)
        assert client.server is not None
        leader = await deferToThread(lambda: ensemble.leader)
        # Who leads, or serves us, hangs up when it leaves.
        number = next(
            number
            for number, member in enumerate(ensemble.members, 1)
            if member is not leader and member.port != client.server.port
        )
        before, _ = await client.get_config()
        self.assertIn(b"server.%d=" % number, before)
        answered, _ = await client.reconfig(leaving=str(number), timeout=60)
        self.assertNotIn(b"server.%d=" % number, answered)
        self.assertEqual((await client.get_config())[0], answered)
