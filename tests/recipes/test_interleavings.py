"""Recipes with random sequences of actions and faults."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests import effort
from tests.client.base import TIMEOUT
from tests.recipes.world import World
from zkservice.client import ZooKeeperClient
from zkservice.errors import LeaseLostError
from zkservice.recipes import (
    DoubleBarrier,
    Lease,
    Lock,
    Membership,
    Participant,
    Party,
    PersistentEphemeralNode,
    QueueItem,
    ReliableQueue,
    Semaphore,
)

PATH = "/locks/one"

ACTIONS = ("contend", "cancel", "release", "drop", "expire", "time", "delete path")


SCRIPTS = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2)), max_size=25)


class InterleavingTests(SynchronousTestCase):
    """Several contenders, and random actions and faults."""

    @settings(max_examples=effort(40, 12))
    @given(SCRIPTS, st.integers(0, 3))
    def test_lock_has_one_holder_and_every_contender_gets_it(
        self, script: list[tuple[str, int]], seed: int
    ) -> None:
        """There are never two holders, tokens rise, and in the end every contender gets it."""
        world = World(self, 3, seed=seed)
        Interleaving(self, world, lambda client: Lock(client, PATH, reactor=world.network), 1).run(
            script
        )

    @settings(max_examples=effort(40, 12))
    @given(SCRIPTS, st.integers(0, 3))
    def test_lock_objects_of_many_contenders(
        self, script: list[tuple[str, int]], seed: int
    ) -> None:
        """The same if the contenders of a client share one lock object."""
        world = World(self, 3, seed=seed)
        locks = {client: Lock(client, PATH, reactor=world.network) for client in world.clients}
        Interleaving(self, world, locks.__getitem__, 1).run(script)

    @settings(max_examples=effort(40, 12))
    @given(SCRIPTS, st.integers(0, 3))
    def test_semaphore_has_two_holders_at_most(
        self, script: list[tuple[str, int]], seed: int
    ) -> None:
        """There are never three holders of two leases, and in the end every contender gets one."""
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
        """Run the script, then release all leases until no contender waits."""
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
        """Begin another acquisition."""
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
        """Record errors; only a cancellation is expected."""
        if not failure.check(CancelledError):
            self.errors.append(failure.value)

    def do_cancel(self, number: int) -> None:
        """Cancel a client's first contender."""
        for contender in self.waiting:
            if contender[0] == number:
                self.waiting.remove(contender)
                contender[1].cancel()
                break
        self.network.run_due()

    def do_release(self, number: int) -> None:
        """Release a client's leases."""
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
        """Another client deletes the path, if it is empty."""
        self.clients[number].delete(PATH).addErrback(lambda failure: None)
        self.network.settle()

    def check(self) -> None:
        """Check that no more leases are held than are allowed."""
        alive = set(self.world.children(PATH))
        held = [
            lease
            for _, lease in self.leases
            if lease.held and lease.path.rpartition("/")[2] in alive
        ]
        self.test.assertLessEqual(len(held), self.limit)


JOBS = ("work", "done", "put back", "drop", "expire", "time", "cancel")
JOB_SCRIPTS = st.lists(st.tuples(st.sampled_from(JOBS), st.integers(0, 2)), max_size=25)


class ReliableQueueTests(SynchronousTestCase):
    """Several consumers of a few items, with random actions and faults."""

    @settings(max_examples=effort(40, 12))
    @given(JOB_SCRIPTS, st.integers(0, 3))
    def test_queue_items_are_done_exactly_once(
        self, script: list[tuple[str, int]], seed: int
    ) -> None:
        """No item is done twice or lost, and no two consumers have the same one at a time."""
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
        self.lost: list[bytes] = []
        self.errors: list[object] = []
        for item in self.ITEMS:
            world.result(self.queues[0].put(item))

    def run(self, script: list[tuple[str, int]]) -> None:
        """Run the script; then one consumer completes the items that are left."""
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
        # A session can end just after a deletion, so that no client learns of it.
        self.test.assertLessEqual(set(self.ITEMS) - set(self.done), set(self.lost))
        self.world.end()

    def do_work(self, number: int) -> None:
        """Begin a consumer's `get`."""
        getting = self.queues[number].get()
        self.getting.append((number, getting))

        def got(item: QueueItem) -> None:
            self.getting.remove((number, getting))
            self.items.append((number, item))

        getting.addCallback(got).addErrback(self.failed)
        self.world.network.run_due()

    def failed(self, failure: Failure) -> None:
        """Record errors; only a cancellation is expected."""
        if not failure.check(CancelledError):
            self.errors.append(failure.value)

    def do_done(self, number: int) -> None:
        """Delete all items that a consumer has."""
        for taken in [taken for taken in self.items if taken[0] == number]:
            self.items.remove(taken)
            self.finish(taken[1])
        self.world.network.run_due()

    def finish(self, item: QueueItem) -> None:
        """Delete an item; record whether that succeeds, or the reservation was lost."""

        def lost(failure: Failure) -> None:
            failure.trap(LeaseLostError)
            self.lost.append(item.data)

        deleting = item.delete().addCallback(lambda _: self.done.append(item.data))
        deleting.addErrback(lost).addErrback(self.failed)

    def do_put_back(self, number: int) -> None:
        """Release all items that a consumer has."""
        for taken in [taken for taken in self.items if taken[0] == number]:
            self.items.remove(taken)
            taken[1].release()
        self.world.network.settle()

    def do_cancel(self, number: int) -> None:
        """Cancel a consumer's calls of `get`."""
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

    def on_server(self, lease: Lease) -> bool:
        """Whether the server still has the znode of a lease."""
        node = self.world.server.node(lease.path)
        return node is not None and node.stat.czxid == lease.token

    def check(self) -> None:
        """Check that no two consumers have the same item reserved on the server."""
        held = [
            item.data for _, item in self.items if item.lease.held and self.on_server(item.lease)
        ]
        self.test.assertEqual(len(held), len(set(held)))


STEPS = ("step", "step", "cancel", "drop", "expire", "time")
ROUNDS = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2)), max_size=30)


class DoubleBarrierTests(SynchronousTestCase):
    """Three members of a double barrier, in many rounds."""

    @settings(max_examples=effort(40, 12))
    @given(ROUNDS, st.integers(0, 3))
    def test_double_barrier_rounds_end(self, script: list[tuple[str, int]], seed: int) -> None:
        """Members begin together while all sessions last, none waits for ever, no node remains."""
        Rounds(self, World(self, 3, seed=seed)).run(script)


class Rounds:
    """Three members, each of which is out, entering, in or leaving."""

    def __init__(self, test: SynchronousTestCase, world: World) -> None:
        self.test, self.world = test, world
        self.barriers = [
            DoubleBarrier(client, PATH, 3, reactor=world.network) for client in world.clients
        ]
        self.participants: list[Participant | None] = [None] * 3
        self.under_way: list[Deferred[None] | None] = [None] * 3
        self.rounds = [0] * 3  # that each has begun
        self.alive = True  # no session has expired, and no call was cancelled
        self.errors: list[object] = []

    def run(self, script: list[tuple[str, int]]) -> None:
        """Run the script; then all members continue until all have left."""
        for action, number in script:
            getattr(self, "do_" + action)(number)
        self.world.wait(TIMEOUT * 2)
        for _ in range(8):
            busy = [one is not None for one in (*self.participants, *self.under_way)]
            if not any(busy):
                break
            all_in = all(self.participants)
            for number, one in enumerate(self.participants):
                holds_others_up = one is not None and one.lease.held
                if not holds_others_up or all_in or not any(self.under_way):
                    self.do_step(number)
            self.world.wait()
        self.test.assertEqual((self.participants, self.under_way), ([None] * 3, [None] * 3))
        self.test.assertEqual((self.errors, self.world.children(PATH)), ([], []))
        self.world.end()

    def do_step(self, number: int) -> None:
        """A member that is out enters, and one that is in leaves."""
        if self.under_way[number] is None:
            step = self.enter if self.participants[number] is None else self.leave
            step(number)
        self.world.network.run_due()

    def enter(self, number: int) -> None:
        """Begin a call of `enter`."""

        def entered(participant: Participant) -> None:
            self.participants[number] = participant
            self.rounds[number] += 1
            if self.alive:  # no member is in a round that another one has not begun to enter
                begun = [
                    rounds + (self.under_way[one] is not None and self.participants[one] is None)
                    for one, rounds in enumerate(self.rounds)
                ]
                self.test.assertGreaterEqual(min(begun), self.rounds[number])

        self.start(number, self.barriers[number].enter().addCallback(entered))

    def leave(self, number: int) -> None:
        """Begin a call of `leave`; the membership may be lost already."""
        participant = self.participants[number]
        assert participant is not None

        def out(failure: Failure | None) -> Failure | None:
            self.participants[number] = None
            if failure is not None and not self.alive and failure.check(LeaseLostError):
                return None
            return failure

        self.start(number, participant.leave().addBoth(out))

    def start(self, number: int, deferred: Deferred[None]) -> None:
        """Record that a member has a call in progress."""
        self.under_way[number] = deferred

        def done(result: object) -> None:
            self.under_way[number] = None
            if isinstance(result, Failure) and not result.check(CancelledError):
                self.errors.append(result.value)

        deferred.addBoth(done)

    def do_cancel(self, number: int) -> None:
        """Cancel a member's call: it is not a member any more."""
        waiting = self.under_way[number]
        if waiting is not None:
            self.alive = False
            waiting.cancel()
        self.world.network.run_due()

    def do_drop(self, number: int) -> None:
        """A member's connection breaks, with all that is on its way."""
        self.world.server.drop(self.world.session(number))
        self.world.network.run_due()

    def do_expire(self, number: int) -> None:
        """A member's session ends."""
        self.alive = False
        self.world.server.expire(self.world.session(number))

    def do_time(self, number: int) -> None:
        """Some time goes by."""
        self.world.network.advance(number)


MOVES = ("join", "leave", "drop", "expire", "time", "delete node")
MOVE_SCRIPTS = st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 2)), max_size=25)


class PartyTests(SynchronousTestCase):
    """Members that join and leave, and a client that watches."""

    @settings(max_examples=effort(40, 12))
    @given(MOVE_SCRIPTS, st.integers(0, 3))
    def test_party_has_the_wanted_members(self, script: list[tuple[str, int]], seed: int) -> None:
        """In the end the wanted members are there, once each, and the watcher has seen them."""
        world = World(self, 3, seed=seed)
        wanted: list[Membership] = []
        seen: list[list[str]] = [[]]
        parties = [
            Party(client, PATH, str(number), reactor=world.network)
            for number, client in enumerate(world.clients)
        ]

        def watch(members: list[str]) -> Deferred[list[str]]:
            seen.append(members)
            return parties[2].changed(members).addCallback(watch)

        watching = parties[2].changed([]).addCallback(watch)
        for action, number in script:
            if action == "join":
                wanted.append(world.result(parties[number].join()))
            elif action == "leave" and number < len(wanted):
                wanted.pop(number).leave()
            elif action == "delete node" and number < len(wanted):
                world.clients[0].delete(wanted[number].path).addErrback(lambda failure: None)
            elif action == "drop":
                world.server.drop(world.session(number))
            elif action == "expire":
                world.server.expire(world.session(number))
            elif action == "time":
                world.network.advance(number)
            world.network.run_due()
        world.wait(TIMEOUT * 2)
        paths = sorted(one.path.rpartition("/")[2] for one in wanted)
        self.assertEqual(world.children(PATH), paths)
        members = world.result(parties[0].members())
        self.assertEqual(seen[-1], members)
        self.assertTrue(all(one.present for one in wanted))
        watching.addErrback(lambda failure: failure.trap(CancelledError))
        watching.cancel()
        for one in wanted:
            one.leave()
        world.wait()
        self.assertEqual(world.children(PATH), [])
        world.end()


DEEDS = ("create", "delete", "set", "drop", "expire", "time", "delete node")
DEED_SCRIPTS = st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 2)), max_size=25)


class PersistentEphemeralNodeTests(SynchronousTestCase):
    """Three clients that want the same node."""

    @settings(max_examples=effort(40, 12), deadline=None)
    @given(DEED_SCRIPTS, st.integers(0, 3))
    def test_the_node_is_there_when_wanted(self, script: list[tuple[str, int]], seed: int) -> None:
        """In the end the node exists if a client wants it, and one of those owns it.

        It holds the owner's last data, with one exception: a client whose node was deleted,
        and which does not know it yet, has written into the node of the next owner.
        """
        world = World(self, 3, seed=seed)
        nodes = [
            PersistentEphemeralNode(client, PATH, b"%d" % number, reactor=world.network)
            for number, client in enumerate(world.clients)
        ]
        wanted: set[int] = set()
        for step, (action, number) in enumerate(script):
            node = nodes[number]
            if action == "create" and number not in wanted:
                wanted.add(number)
                node.create().addErrback(lambda failure: failure.trap(CancelledError))
            elif action == "delete":
                wanted.discard(number)
                node.delete()
            elif action == "set":
                node.set(b"%d, step %d" % (number, step))
            elif action == "drop":
                world.server.drop(world.session(number))
            elif action == "expire":
                world.server.expire(world.session(number))
            elif action == "time":
                world.network.advance(number)
            elif action == "delete node":
                world.clients[number].delete(PATH).addErrback(lambda failure: None)
            world.network.run_due()
        world.wait(TIMEOUT * 2)
        there = world.server.node(PATH)
        present = [number for number, node in enumerate(nodes) if node.present]
        self.assertEqual(len(present), min(1, len(wanted)))
        self.assertLessEqual(set(present), wanted)
        self.assertEqual(there is not None, bool(wanted))
        if there is not None:
            self.assertEqual(there.stat.ephemeral_owner, world.session(present[0]))
            if "delete node" not in dict(script):
                self.assertEqual(there.data, nodes[present[0]].data)
        for node in nodes:
            node.delete()
        world.wait()
        self.assertEqual(world.children("/locks"), [])
        world.end()
