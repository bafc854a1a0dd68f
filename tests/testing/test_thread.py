"""The server for tests that know no Twisted."""

from __future__ import annotations

import logging
import os
import queue
import threading
from typing import Any

from kazoo.client import KazooClient, KazooState
from kazoo.protocol.states import KeeperState
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.errors import NotStartedError
from zkservice.testing import EmbeddedZooKeeper, ThreadedZooKeeper
from zkservice.testing.apache import four_letter_word

QUIET = logging.getLogger("quiet")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


class ThreadedZooKeeperTests(SynchronousTestCase):
    """Everything blocks until it is done."""

    @override
    def setUp(self) -> None:
        self.zookeeper = ThreadedZooKeeper().start()
        self.addCleanup(self.zookeeper.stop)

    def client(self) -> KazooClient:
        """A connected client."""
        client = KazooClient(self.zookeeper.connection_string, timeout=4.0, logger=QUIET)
        self.addCleanup(client.close)
        self.addCleanup(client.stop)
        client.start(10)
        return client

    def test_before_the_start_it_says_what_to_do(self) -> None:
        """Before it is started, and after it is stopped, it says what to do, without waiting."""
        self.zookeeper.stop()
        for zookeeper in (ThreadedZooKeeper(), self.zookeeper):
            with self.assertRaisesRegex(NotStartedError, "call start"):
                zookeeper.tree()
        with self.assertRaises(NotStartedError):
            _ = ThreadedZooKeeper().connection_string

    def test_client_and_test_see_the_same(self) -> None:
        """What a client does can be seen at once."""
        client = self.client()
        client.create("/a", b"x")
        self.assertEqual(self.zookeeper.tree(), {"/": b"", "/a": b"x"})
        self.assertEqual(self.zookeeper.sessions(), [client.client_id[0]])
        self.assertEqual(self.zookeeper.statistics().sessions, 1)

    def test_expire_and_drop(self) -> None:
        """Sessions expire and connections break on demand."""
        client = self.client()
        lost = threading.Event()
        client.add_listener(lambda state: lost.set() if state == KazooState.LOST else None)
        session = client.client_id[0]
        self.assertTrue(self.zookeeper.drop(session))
        self.assertTrue(self.zookeeper.expire(session))
        self.assertTrue(lost.wait(60))
        self.assertFalse(self.zookeeper.expire(session))

    def test_client_that_wants_sasl(self) -> None:
        """Without SASL users kazoo's authentication fails; it does not wait."""
        client = KazooClient(
            self.zookeeper.connection_string,
            sasl_options={"mechanism": "DIGEST-MD5", "username": "u", "password": "p"},
            logger=QUIET,
        )
        self.addCleanup(client.close)
        self.addCleanup(client.stop)

        lost: queue.Queue[str] = queue.Queue()
        client.add_listener(
            lambda state: lost.put(client.client_state) if state == KazooState.LOST else None
        )
        client.start_async()
        self.assertEqual(lost.get(timeout=60), KeeperState.AUTH_FAILED)

    def test_modes_can_be_set_and_read(self) -> None:
        """The server's modes can be changed and asked for."""
        port = int(self.zookeeper.connection_string.rpartition(":")[2])
        for name in ("refuse", "read_only"):
            self.assertFalse(getattr(self.zookeeper, name))
            setattr(self.zookeeper, name, True)
            self.assertTrue(getattr(self.zookeeper, name))
            setattr(self.zookeeper, name, False)
        self.zookeeper.pause()
        self.assertEqual(four_letter_word(port, b"ruok", 0.2), b"")
        self.zookeeper.resume()
        self.assertEqual(four_letter_word(port, b"ruok"), b"imok")

    def test_sessions_expire_with_advance(self) -> None:
        """Sessions expire when the test lets time go by, and not before."""
        clock = Clock()
        clock.rightNow = 1e9
        with ThreadedZooKeeper(clock=clock) as self.zookeeper:
            client = self.client()
            client.create("/e", ephemeral=True)
            self.zookeeper.advance(4.0)
            self.assertIn("/e", self.zookeeper.tree())
            self.zookeeper.advance(4.6)
            self.assertNotIn("/e", self.zookeeper.tree())
            client.stop()

    def test_time_by_itself(self) -> None:
        """A server that lives in real time cannot be put forward."""
        self.assertRaises(TypeError, self.zookeeper.advance, 1.0)

    def test_start_and_stop_can_be_repeated(self) -> None:
        """Start and stop may come twice; after a stop it can be started on the same port."""
        where = self.zookeeper.connection_string
        self.assertIs(self.zookeeper.start(), self.zookeeper)
        threads = threading.active_count()
        self.zookeeper.stop()
        self.zookeeper.stop()
        self.assertEqual(threading.active_count(), threads - 1)
        with self.zookeeper:
            self.assertEqual(self.zookeeper.connection_string, where)

    def test_nothing_is_left(self) -> None:
        """However often it runs, no descriptor stays open."""

        def descriptors() -> int:
            return len(os.listdir("/dev/fd"))

        before = descriptors()
        for _ in range(3):
            with ThreadedZooKeeper():
                pass
        self.assertEqual(descriptors(), before)

    def test_errors_of_the_thread_are_raised_at_the_call(self) -> None:
        """What goes wrong in the thread is raised where it was asked for."""
        port = int(self.zookeeper.connection_string.rpartition(":")[2])
        threads = threading.active_count()
        self.assertRaises(CannotListenError, ThreadedZooKeeper(port=port).start)
        self.assertEqual(threading.active_count(), threads)

    def test_it_offers_what_the_embedded_one_offers(self) -> None:
        """Whatever the one in the reactor can do, this one can."""

        def public(of: type[Any]) -> set[str]:
            return {name for name in vars(of) if not name.startswith("_")}

        # A test beside another thread has no business with the server's insides.
        missing = public(EmbeddedZooKeeper) - public(ThreadedZooKeeper)
        self.assertEqual(missing, {"server", "port"})
