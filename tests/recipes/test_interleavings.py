"""Locks and semaphores under everything that can happen, in any order."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.client.base import TIMEOUT
from tests.recipes.world import World
from zkservice.client import ZooKeeperClient
from zkservice.errors import LeaseLostError
from zkservice.recipes import Lease, Lock, QueueItem, ReliableQueue, Semaphore

PATH = "/locks/one"

ACTIONS = ("contend", "cancel", "release", "drop", "expire", "time", "delete path")


SCRIPTS = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2)), max_size=25)


class InterleavingTests(SynchronousTestCase):
    """Several contenders, and everything that can happen to them in any order."""

    @settings(max_examples=40, deadline=None)
    @given(SCRIPTS, st.integers(0, 3))
    def test_lock(self, script: list[tuple[str, int]], seed: int) -> None:
        """Never two hold it, tokens rise, and in the end all get it."""
        world = World(self, 3, seed=seed)
        Interleaving(self, world, lambda client: Lock(client, PATH, reactor=world.network), 1).run(
            script
        )

    @settings(max_examples=40, deadline=None)
    @given(SCRIPTS, st.integers(0, 3))
    def test_semaphore(self, script: list[tuple[str, int]], seed: int) -> None:
        """Never three hold one for two, and in the end all get it."""
        world = World(self, 3, seed=seed)
        Interleaving(
            self, world, lambda client: Semaphore(client, PATH, 2, reactor=world.network), 2
        ).run(script)


class Interleaving:
    """Three clients and a script."""

    def __init__(
        self,
        test: SynchronousTestCase,
        world: World,
        make: Callable[[ZooKeeperClient], Lock | Semaphore],
        limit: int,
    ) -> None:
        self.test, self.world = test, world
        self.make, self.limit = make, limit
        self.network, self.server = world.network, world.server
        self.clients = world.clients
        self.waiting: list[tuple[int, Deferred[Lease]]] = []
        self.leases: list[tuple[int, Lease]] = []
        self.tokens: list[int] = []
        self.errors: list[object] = []

    def run(self, script: list[tuple[str, int]]) -> None:
        """Follow the script, then let everything come to its end."""
        for action, number in script:
            getattr(self, "do_" + action.replace(" ", "_"))(number)
            self.check()
        self.world.wait(TIMEOUT * 2)
        self.check()
        for _ in range(len(self.waiting) + 1):
            for _, lease in self.leases:
                lease.release()
            self.world.wait()
            self.check()
        self.test.assertEqual((self.waiting, self.errors), ([], []))
        self.test.assertEqual(self.world.children(PATH), [])
        self.world.end()

    def do_contend(self, number: int) -> None:
        """One more; bytes move, or not yet."""
        acquiring = self.make(self.clients[number]).acquire()
        self.waiting.append((number, acquiring))

        def got(lease: Lease) -> None:
            self.waiting.remove((number, acquiring))
            self.leases.append((number, lease))
            if self.limit == 1:
                self.test.assertTrue(all(lease.token > token for token in self.tokens))
            self.tokens.append(lease.token)
            self.check()

        acquiring.addCallback(got).addErrback(self.failed)
        self.network.run_due()

    def failed(self, failure: Failure) -> None:
        """Nothing but a cancellation ends a wait without a lease."""
        if not failure.check(CancelledError):
            self.errors.append(failure.value)

    def do_cancel(self, number: int) -> None:
        """A client's first contender gives up."""
        for contender in self.waiting:
            if contender[0] == number:
                self.waiting.remove(contender)
                contender[1].cancel()
                break
        self.network.run_due()

    def do_release(self, number: int) -> None:
        """A client gives back what it has."""
        for owner, lease in self.leases:
            if owner == number:
                lease.release()
        self.network.settle()

    def do_drop(self, number: int) -> None:
        """A client's connection breaks, with all that is on its way."""
        self.server.drop(self.world.session(number))
        self.network.run_due()

    def do_expire(self, number: int) -> None:
        """A client's session ends."""
        self.server.expire(self.world.session(number))

    def do_time(self, number: int) -> None:
        """Some time goes by."""
        self.network.advance(number)

    def do_delete_path(self, number: int) -> None:
        """Somebody tidies up, if there is nothing left."""
        self.clients[number].delete(PATH).addErrback(lambda failure: None)
        self.network.settle()

    def check(self) -> None:
        """There are never more nodes of leases at a time than are allowed."""
        alive = set(self.world.children(PATH))
        held = [
            lease
            for _, lease in self.leases
            if lease.held and lease.path.rpartition("/")[2] in alive
        ]
        self.test.assertLessEqual(len(held), self.limit)


JOBS = ("work", "done", "give back", "drop", "expire", "time", "cancel")
JOB_SCRIPTS = st.lists(st.tuples(st.sampled_from(JOBS), st.integers(0, 2)), max_size=25)


class ReliableQueueTests(SynchronousTestCase):
    """Several consumers of a few items, and everything that can happen to them."""

    @settings(max_examples=40, deadline=None)
    @given(JOB_SCRIPTS, st.integers(0, 3))
    def test_all_done(self, script: list[tuple[str, int]], seed: int) -> None:
        """No item is done twice or lost, and no two have the same one at a time."""
        Consumers(self, World(self, 3, seed=seed)).run(script)


class Consumers:
    """Three consumers, four items and a script."""

    ITEMS = (b"1", b"2", b"3", b"4")

    def __init__(self, test: SynchronousTestCase, world: World) -> None:
        self.test, self.world = test, world
        self.queues = [
            ReliableQueue(client, PATH, reactor=world.network) for client in world.clients
        ]
        self.getting: list[tuple[int, Deferred[QueueItem]]] = []
        self.items: list[tuple[int, QueueItem]] = []
        self.done: list[bytes] = []
        self.vain: list[bytes] = []
        self.errors: list[object] = []
        for item in self.ITEMS:
            world.result(self.queues[0].put(item))

    def run(self, script: list[tuple[str, int]]) -> None:
        """Follow the script; then one of them does what is left."""
        for action, number in script:
            getattr(self, "do_" + action.replace(" ", "_"))(number)
            self.check()
        self.world.wait(TIMEOUT * 2)
        while self.getting or self.items:
            for number in range(3):
                self.do_cancel(number)
                self.do_done(number)
            self.world.wait()
        while self.world.children(PATH):
            item = self.world.result(self.queues[1].get())
            self.items.append((1, item))
            self.do_done(1)
            self.world.wait()
        self.test.assertEqual(self.errors, [])
        self.test.assertEqual(len(self.done), len(set(self.done)))
        # A session can end just after a deletion, so that nobody is told of it.
        self.test.assertLessEqual(set(self.ITEMS) - set(self.done), set(self.vain))
        self.world.end()

    def do_work(self, number: int) -> None:
        """A consumer wants an item; bytes move, or not yet."""
        getting = self.queues[number].get()
        self.getting.append((number, getting))

        def got(item: QueueItem) -> None:
            self.getting.remove((number, getting))
            self.items.append((number, item))

        getting.addCallback(got).addErrback(self.failed)
        self.world.network.run_due()

    def failed(self, failure: Failure) -> None:
        """Nothing but a cancellation ends a wait, nothing but a loss makes work vain."""
        if not failure.check(CancelledError):
            self.errors.append(failure.value)

    def do_done(self, number: int) -> None:
        """A consumer is done with all that it has."""
        for mine in [mine for mine in self.items if mine[0] == number]:
            self.items.remove(mine)
            self.finish(mine[1])
        self.world.network.run_due()

    def finish(self, item: QueueItem) -> None:
        """Done with an item, or in vain."""

        def lost(failure: Failure) -> None:
            failure.trap(LeaseLostError)
            self.vain.append(item.data)

        deleting = item.delete().addCallback(lambda _: self.done.append(item.data))
        deleting.addErrback(lost).addErrback(self.failed)

    def do_give_back(self, number: int) -> None:
        """A consumer leaves its items to others."""
        for mine in [mine for mine in self.items if mine[0] == number]:
            self.items.remove(mine)
            mine[1].release()
        self.world.network.settle()

    def do_cancel(self, number: int) -> None:
        """A consumer does not want any more."""
        for one in [one for one in self.getting if one[0] == number]:
            self.getting.remove(one)
            one[1].cancel()
        self.world.network.run_due()

    def do_drop(self, number: int) -> None:
        """A consumer's connection breaks, with all that is on its way."""
        self.world.server.drop(self.world.session(number))
        self.world.network.run_due()

    def do_expire(self, number: int) -> None:
        """A consumer's session ends."""
        self.world.server.expire(self.world.session(number))

    def do_time(self, number: int) -> None:
        """Some time goes by."""
        self.world.network.advance(number)

    def check(self) -> None:
        """No two have the same item, as far as the server has not taken it from one of them."""
        nodes = self.world.server.keeper.tree.nodes
        held = [
            item.data
            for _, item in self.items
            if item.lease.held
            and item.lease.path in nodes
            and nodes[item.lease.path].czxid == item.lease.token
        ]
        self.test.assertEqual(len(held), len(set(held)))
