"""The server for tests, on real sockets, with an independent client."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import Any

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import NotReadOnlyCallError
from kazoo.protocol.states import KeeperState
from twisted.internet import reactor  # noqa: TID251 - real connections
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from typing_extensions import override

from zkservice.errors import NotStartedError
from zkservice.testing import EmbeddedZooKeeper
from zkservice.testing.apache import four_letter_word

QUIET = logging.getLogger("quiet")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


class EmbeddedZooKeeperTests(TestCase):
    """What tests can do to it, as a client sees it."""

    timeout = 300

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        self.zookeeper = EmbeddedZooKeeper()
        await self.zookeeper.start()
        self.addCleanup(self.zookeeper.stop)

    async def client(self, **options: Any) -> KazooClient:
        """A connected client."""
        client = KazooClient(
            self.zookeeper.connection_string, timeout=10.0, logger=QUIET, **options
        )
        self.addCleanup(deferToThread, _end, client)
        await deferToThread(client.start, 60)
        return client

    def states(self, client: KazooClient) -> Callable[[str], Deferred[Any]]:
        """A function that waits until the client has been in a state."""
        seen: dict[str, Event] = {}
        for state in (KazooState.CONNECTED, KazooState.SUSPENDED, KazooState.LOST):
            seen[state] = Event()
        client.add_listener(lambda state: seen[state].set())

        def wait(state: str) -> Deferred[Any]:
            return deferToThread(lambda: self.assertTrue(seen[state].wait(10), state))

        return wait

    async def test_before_the_start_there_is_no_address(self) -> None:
        """Before it is started there is no address, and nothing that could be asked."""
        zookeeper = EmbeddedZooKeeper()
        with self.assertRaisesRegex(NotStartedError, "call start"):
            _ = zookeeper.connection_string
        with self.assertRaises(NotStartedError):
            zookeeper.tree()
        self.assertIn("stopped", repr(zookeeper))

    async def test_async_with_starts_and_stops(self) -> None:
        """It can be there for a block, and says where it is when it is printed."""
        async with EmbeddedZooKeeper() as zookeeper:
            self.assertEqual(repr(zookeeper), f"<EmbeddedZooKeeper {zookeeper.connection_string}>")
            self.assertEqual(zookeeper.tree(), {"/": b""})
        self.assertEqual(
            repr(zookeeper), f"<EmbeddedZooKeeper {zookeeper.connection_string}, stopped>"
        )

    async def test_start_is_fast(self) -> None:
        """It starts in far less than a blink, unless the machine is busy with something else."""
        took = []
        for _ in range(10):
            another = EmbeddedZooKeeper()
            began = monotonic()
            await another.start()
            took.append(monotonic() - began)
            await another.stop()
        self.assertLess(min(took), 0.05)

    async def test_client_and_test_see_the_same(self) -> None:
        """A client creates, and the test sees what it created."""
        client = await self.client()
        await deferToThread(client.create, "/a/b", b"x", makepath=True)
        self.assertEqual(self.zookeeper.tree(), {"/": b"", "/a": b"", "/a/b": b"x"})
        self.assertEqual(self.zookeeper.sessions(), [client.client_id[0]])
        self.assertEqual(self.zookeeper.statistics().nodes, 6)

    async def test_expire_deletes_ephemerals(self) -> None:
        """The client learns of the expiry when it reconnects, and its ephemerals are gone."""
        client = await self.client()
        await deferToThread(client.create, "/e", ephemeral=True)
        wait = self.states(client)
        self.assertTrue(self.zookeeper.expire(client.client_id[0]))
        self.assertEqual(self.zookeeper.tree(), {"/": b""})
        await wait(KazooState.LOST)
        self.assertFalse(self.zookeeper.expire(12345))
        for method in (self.zookeeper.expire, self.zookeeper.drop):
            with self.assertRaises(TypeError) as caught:
                method(client.client_id)
            self.assertIn("client_id[0]", str(caught.exception))

    async def test_drop_keeps_the_session(self) -> None:
        """The client loses its connection, and finds its session and its ephemerals again."""
        client = await self.client()
        await deferToThread(client.create, "/e", ephemeral=True)
        session, wait = client.client_id[0], self.states(client)
        self.assertTrue(self.zookeeper.drop(session))
        await wait(KazooState.SUSPENDED)
        await wait(KazooState.CONNECTED)
        self.assertEqual(client.client_id[0], session)
        self.assertIn("/e", self.zookeeper.tree())

    async def test_pause_answers_nothing(self) -> None:
        """Nothing is answered meanwhile; afterwards everything is."""
        client = await self.client()
        self.zookeeper.pause()
        answer = client.get_async("/")
        await deferLater(reactor, 0.2, lambda: None)
        self.assertFalse(answer.ready())
        self.zookeeper.resume()
        data, _ = await deferToThread(answer.get, True, 60)
        self.assertEqual(data, b"")

    async def test_refuse_closes_new_connections(self) -> None:
        """Who comes is sent away."""
        client = await self.client()
        wait = self.states(client)
        self.zookeeper.refuse = True
        self.zookeeper.drop(client.client_id[0])
        await wait(KazooState.SUSPENDED)
        await deferLater(reactor, 0.3, lambda: None)
        self.assertEqual((self.zookeeper.refuse, client.connected), (True, False))
        self.zookeeper.refuse = False
        await wait(KazooState.CONNECTED)

    async def test_a_read_only_server_refuses_writes(self) -> None:
        """A client of a read-only server learns that it is read-only."""
        client = await self.client(read_only=True)
        wait = self.states(client)
        self.zookeeper.read_only = True
        await wait(KazooState.SUSPENDED)
        await wait(KazooState.CONNECTED)
        self.assertEqual(client.client_state, KeeperState.CONNECTED_RO)
        try:
            await deferToThread(client.create, "/a")
        except NotReadOnlyCallError:
            pass
        else:
            self.fail("it was allowed to write")
        self.assertTrue(self.zookeeper.read_only)

    async def test_restart_keeps_the_port(self) -> None:
        """The port stays; what was in memory is gone, and clients get new sessions."""
        client = await self.client()
        await deferToThread(client.create, "/a")
        old, wait = client.client_id[0], self.states(client)
        where = self.zookeeper.connection_string
        await self.zookeeper.stop()
        await self.zookeeper.start()
        self.assertEqual(self.zookeeper.connection_string, where)
        await wait(KazooState.LOST)
        await wait(KazooState.CONNECTED)
        self.assertNotEqual(client.client_id[0], old)
        self.assertIsNone(await deferToThread(client.exists, "/a"))

    async def test_restart_with_data(self) -> None:
        """With a data directory sessions and nodes survive."""
        await self.zookeeper.stop()
        self.zookeeper = EmbeddedZooKeeper(data_dir=self.mktemp())
        await self.zookeeper.start()
        self.addCleanup(self.zookeeper.stop)
        client = await self.client()
        await deferToThread(client.create, "/e", ephemeral=True)
        old, wait = client.client_id[0], self.states(client)
        await self.zookeeper.stop()
        await self.zookeeper.start()
        await wait(KazooState.CONNECTED)
        self.assertEqual(client.client_id[0], old)
        self.assertEqual(self.zookeeper.tree(), {"/": b"", "/e": b""})

    async def test_stop_closes_connections(self) -> None:
        """It hangs up; twice is fine."""
        client = await self.client()
        wait = self.states(client)
        await self.zookeeper.stop()
        await self.zookeeper.stop()
        await wait(KazooState.SUSPENDED)
        self.assertEqual(await deferToThread(four_letter_word, self.zookeeper.port, b"ruok"), b"")

    async def test_a_taken_port_fails_and_holds_nothing(self) -> None:
        """A server that cannot bind its port fails to start, and holds nothing."""
        other = EmbeddedZooKeeper(port=self.zookeeper.port)
        await self.assertFailure(other.start(), CannotListenError)
        await other.stop()


def _end(client: KazooClient) -> None:
    client.stop()
    client.close()
