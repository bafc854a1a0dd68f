"""Tests for `zkservice.recipes.lock`, `lease`, `read_write` and `election`."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.client.base import HOST, PORT, TIMEOUT, quietly
from tests.client.network import Cable, Network
from tests.recipes.base import RecipeTestCase, children, cut_points, outcome
from zkservice.client import ZooKeeperClient
from zkservice.embedded import ZooKeeperServer
from zkservice.errors import (
    ClientClosedError,
    InvalidPathError,
    LeaseLostError,
    LockTimeoutError,
    NoAuthError,
    SessionExpiredError,
)
from zkservice.recipes import Election, Lease, Lock, ReadWriteLock
from zkservice.recipes.order import Turn, in_order, predecessor
from zkservice.wire.acl import ACL, ANYONE, Permission

PATH = "/locks/one"


class OrderTests(SynchronousTestCase):
    """Who waits for whom, by names alone."""

    NAMES = (
        "b__rlock__0000000002",
        "a__lock__0000000003",
        "c__rlock__0000000004",
        "d__rlock__0000000005",
        "x__lock__12",
        "something-else",
    )

    def test_in_order(self) -> None:
        """By number, whatever the marks, and without those who are no contenders."""
        self.assertEqual(
            in_order(self.NAMES, ("__lock__", "__rlock__")),
            [self.NAMES[0], self.NAMES[1], self.NAMES[2], self.NAMES[3]],
        )

    def test_readers_wait_for_writers(self) -> None:
        """A reader waits for the nearest writer before it, a writer for the nearest of all."""
        read, write = Turn("__rlock__", ("__lock__",)), Turn("__lock__", ("__lock__", "__rlock__"))
        expected = {
            (self.NAMES[0], read): None,
            (self.NAMES[1], write): self.NAMES[0],
            (self.NAMES[2], read): self.NAMES[1],
            (self.NAMES[3], read): self.NAMES[1],
        }
        for (child, turn), before in expected.items():
            self.assertEqual(predecessor(child, self.NAMES, turn), before, child)

    def test_numbers_below_zero(self) -> None:
        """A number that has wrapped around is a number."""
        names = ["a__lock__-2147483648", "b__lock__-2147483647"]
        turn = Turn("__lock__", ("__lock__",))
        self.assertEqual(predecessor(names[1], names, turn), names[0])
        self.assertIsNone(predecessor(names[0], names, turn))


class LockTests(RecipeTestCase):
    """One at a time, whatever happens."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.one, self.two = self.connected(), self.connected()

    def lock(self, client: ZooKeeperClient, identifier: str = "", **options: Any) -> Lock:
        """The lock, for a client."""
        return Lock(client, PATH, identifier, reactor=self.network, **options)

    def waiting(self, client: ZooKeeperClient, **options: Any) -> Deferred[Lease]:
        """An acquisition that has come as far as it can."""
        acquiring = self.lock(client, **options).acquire()
        self.addCleanup(quietly, acquiring)
        self.network.settle()
        return acquiring

    def test_alone(self) -> None:
        """Who is alone gets it at once; the node has kazoo's name and the session's life."""
        lease = self.result(self.lock(self.one, "me").acquire())
        (name,) = self.children(PATH)
        self.assertRegex(name, r"^[0-9a-f]{32}__lock__0000000000$")
        data, stat = self.result(self.two.get(lease.path))
        self.assertEqual((data, lease.path), (b"me", f"{PATH}/{name}"))
        self.assertEqual(stat.ephemeral_owner, self.session(self.one))
        self.assertEqual(lease.token, stat.czxid)
        self.assertTrue(lease.held and lease.certain)

    def test_nothing_is_created_outside_the_rules(self) -> None:
        """A path that is none is refused when the lock is made."""
        self.assertRaises(InvalidPathError, Lock, self.one, "locks", reactor=self.network)

    def test_one_after_the_other(self) -> None:
        """A release lets the next one in, with a higher token."""
        first = self.result(self.lock(self.one).acquire())
        waiting = self.waiting(self.two)
        self.assertNoResult(waiting)
        self.result(first.release())
        second = self.result(waiting)
        self.assertGreater(second.token, first.token)
        self.assertFalse(first.held)
        self.assertEqual(len(self.children(PATH)), 1)

    def test_one_object_many_contenders(self) -> None:
        """Acquisitions by one lock object take turns as those of different ones do."""
        lock = self.lock(self.one)
        first, second = self.result(lock.acquire()), lock.acquire()
        self.network.settle()
        self.assertNoResult(second)
        self.result(first.release())
        self.assertTrue(self.result(second).held)

    def test_no_herd(self) -> None:
        """A release causes traffic for the next one only."""
        first = self.result(self.lock(self.one).acquire())
        second, third = self.waiting(self.two), self.waiting(self.bystander)
        before = len(self.cable.client.received), len(self.cable.server.received)
        self.result(first.release())
        lease = self.successResultOf(second)
        self.assertEqual((len(self.cable.client.received), len(self.cable.server.received)), before)
        self.result(lease.release())
        self.assertTrue(self.result(third).held)

    def test_contenders(self) -> None:
        """The holder first, then those who wait, in their order."""
        self.assertEqual(self.result(self.lock(self.one).contenders()), [])
        self.result(self.lock(self.two, "b").acquire())
        self.waiting(self.one, identifier="a")
        self.waiting(self.one)
        self.assertEqual(self.result(self.lock(self.one).contenders()), ["b", "a", ""])

    def test_try(self) -> None:
        """Who only tries gets None if others are before him, and leaves nothing behind."""
        lease = self.result(self.lock(self.one).try_acquire())
        assert lease is not None
        self.assertIsNone(self.result(self.lock(self.two).try_acquire()))
        self.network.settle()
        self.assertEqual(len(self.children(PATH)), 1)

    def test_timeout(self) -> None:
        """Who has waited long enough is told so, and is out of the queue."""
        self.result(self.lock(self.one).acquire())
        waiting = self.lock(self.two).acquire(2.5)
        self.network.advance(2.4)
        self.assertNoResult(waiting)
        self.network.advance(0.2)
        self.assertIn("not our turn within 2.5 s", str(self.failure(waiting, LockTimeoutError)))
        self.assertEqual(len(self.children(PATH)), 1)

    def test_cancelled(self) -> None:
        """Cancelling takes us out of the queue, our watch too, and lets the next one move up."""
        first = self.result(self.lock(self.one).acquire())
        second, third = self.waiting(self.two), self.waiting(self.bystander)
        second.cancel()
        self.failure(second, CancelledError)
        self.assertEqual(len(self.children(PATH)), 2)
        self.assertEqual(self.two.statistics().watches, 0)
        self.assertNoResult(third)
        self.result(first.release())
        self.assertTrue(self.result(third).held)

    def test_cancelled_while_disconnected(self) -> None:
        """Cancelled without a connection, it is deleted as soon as there is one."""
        self.result(self.lock(self.one).acquire())
        waiting = self.waiting(self.two)
        self.server.refuse = True
        self.server.drop(self.session(self.two))
        self.network.settle()
        waiting.cancel()
        self.failure(waiting, CancelledError)
        self.assertEqual(len(self.children(PATH)), 2)
        self.server.refuse = False
        self.network.advance(2)
        self.assertEqual(len(self.children(PATH)), 1)

    def test_cancelled_after_the_reply_was_lost(self) -> None:
        """A node that was created although nobody heard so is found and deleted."""
        self.result(self.lock(self.one).acquire())
        cable = self.network.cables[1]
        cable.server_may_send = len(cable.client.received) + 1
        waiting = self.waiting(self.two)
        self.assertEqual(len(self.children(PATH)), 2)
        waiting.cancel()
        self.failure(waiting, CancelledError)
        self.assertFalse(cable.up)
        self.network.advance(2)
        self.assertEqual(len(self.children(PATH)), 1)

    def test_waits_through_a_reconnect(self) -> None:
        """A predecessor that goes while we are cut off is noticed."""
        first = self.result(self.lock(self.one).acquire())
        waiting = self.waiting(self.two)
        self.server.drop(self.session(self.two))
        self.network.run_due()
        releasing = first.release()
        self.network.advance(2)
        self.successResultOf(releasing)
        self.assertTrue(self.result(waiting).held)

    def test_waits_through_an_expiry(self) -> None:
        """Who waits gets in line again under the next session."""
        first = self.result(self.lock(self.one).acquire())
        waiting = self.waiting(self.two)
        self.expire(self.two)
        self.assertNoResult(waiting)
        self.assertEqual(len(self.children(PATH)), 2)
        self.result(first.release())
        self.assertTrue(self.result(waiting).certain)

    def test_no_other_session(self) -> None:
        """With a client that begins no other session, the wait ends with the session."""
        client = self.connected(new_session=False)
        self.result(self.lock(self.one).acquire())
        waiting = self.waiting(client)
        self.assertTrue(self.server.expire(self.session(client)))
        self.network.advance(1)
        self.failure(waiting, SessionExpiredError)

    def test_closed(self) -> None:
        """The wait ends with the client."""
        self.result(self.lock(self.one).acquire())
        waiting = self.waiting(self.two)
        self.result(self.two.close())
        self.failure(waiting, ClientClosedError)

    def test_path_deleted_by_others(self) -> None:
        """A path that tidy clients delete when it is empty is made again."""
        lock = self.lock(self.one)
        self.result(self.result(lock.acquire()).release())
        self.deleting(PATH)
        self.deleting("/locks")
        self.assertTrue(self.result(lock.acquire()).held)

    def test_own_node_deleted_while_waiting(self) -> None:
        """Whose node is deleted by hand gets in line again when it would be its turn."""
        first = self.result(self.lock(self.one).acquire())
        waiting = self.waiting(self.two)
        self.deleting(f"{PATH}/{in_order(self.children(PATH), ('__lock__',))[1]}")
        self.result(first.release())
        lease = self.result(waiting)
        self.assertTrue(lease.held)
        self.assertEqual(self.children(PATH), [lease.path.rpartition("/")[2]])

    def test_names_of_others(self) -> None:
        """Locks of Curator, go-zookeeper and txzookeeper are respected if one asks for it."""
        self.result(self.bystander.ensure_path(PATH))
        other = self.result(
            self.bystander.create(f"{PATH}/_c_x-lock-", ephemeral=True, sequence=True)
        )
        waiting = self.waiting(self.one, names=("__lock__", "lock-"))
        self.assertNoResult(waiting)
        self.deleting(other)
        self.assertTrue(self.result(waiting).held)

    def test_forbidden(self) -> None:
        """Who may not create nodes is told so."""
        acl = [ACL(int(Permission.READ), ANYONE)]
        self.result(self.bystander.create("/sealed", acl=acl))
        lock = Lock(self.one, "/sealed", reactor=self.network)
        self.failure(lock.acquire(), NoAuthError)


class LeaseTests(RecipeTestCase):
    """What the holder is told."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.one = self.connected()
        self.lease = self.result(Lock(self.one, PATH, reactor=self.network).acquire())

    def test_expired(self) -> None:
        """The end of the session is told, with its reason, to each who asks."""
        early, cancelled = self.lease.lost, self.lease.lost
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.expire(self.one)
        self.assertIsInstance(self.successResultOf(early), SessionExpiredError)
        self.assertIsInstance(self.successResultOf(self.lease.lost), SessionExpiredError)
        self.assertFalse(self.lease.held)

    def test_cut_off(self) -> None:
        """Who is cut off is not certain any more, and in the end takes it for lost."""
        lost = self.lease.lost
        self.server.refuse = True
        self.server.drop(self.session(self.one))
        self.network.settle()
        self.assertEqual((self.lease.held, self.lease.certain), (True, False))
        self.network.advance(TIMEOUT * 4 / 3 + 0.1)
        self.assertIsInstance(self.successResultOf(lost), SessionExpiredError)

    def test_reconnected(self) -> None:
        """A mere reconnect loses nothing."""
        lost = self.lease.lost
        self.server.drop(self.session(self.one))
        self.network.advance(2)
        self.assertNoResult(lost)
        self.assertTrue(self.lease.certain)

    def test_deleted(self) -> None:
        """A node that somebody deletes is told."""
        lost = self.lease.lost
        self.deleting(self.lease.path)
        self.assertIsInstance(self.result(lost), LeaseLostError)

    def test_deleted_while_cut_off(self) -> None:
        """A node that somebody deletes while there is no connection is told, too."""
        lost = self.lease.lost
        self.server.drop(self.session(self.one))
        self.network.run_due()
        self.deleting(self.lease.path)
        self.network.advance(2)
        self.assertIsInstance(self.result(lost), LeaseLostError)

    def test_written(self) -> None:
        """Data that somebody writes into the node are no loss, and do not end the watch."""
        self.result(self.bystander.set(self.lease.path, b"x"))
        lost = self.lease.lost
        self.assertNoResult(lost)
        self.deleting(self.lease.path)
        self.assertIsInstance(self.result(lost), LeaseLostError)

    def test_closed(self) -> None:
        """Closing the client gives everything up; releasing afterwards is no error."""
        lost = self.lease.lost
        self.result(self.one.close())
        self.assertIsInstance(self.successResultOf(lost), ClientClosedError)
        self.assertIsNone(self.successResultOf(self.lease.release()))

    def test_released(self) -> None:
        """After the release nobody is told of a loss, nothing is watched, and twice is fine."""
        lost = self.lease.lost
        releases = self.lease.release(), self.lease.release()
        self.network.settle()
        for release in releases:
            self.successResultOf(release)
        self.successResultOf(self.lease.release())
        self.assertNoResult(lost)
        self.assertEqual(self.one.statistics().watches, 0)
        self.assertIn("released", repr(self.lease))

    def test_release_waits_for_a_connection(self) -> None:
        """Without a connection it is released as soon as there is one, even if nobody waits."""
        self.server.refuse = True
        self.server.drop(self.session(self.one))
        self.network.settle()
        impatient, patient = self.lease.release(), self.lease.release()
        impatient.cancel()
        self.failureResultOf(impatient, CancelledError)
        self.assertFalse(self.lease.held)
        self.server.refuse = False
        self.network.advance(2)
        self.successResultOf(patient)
        self.assertEqual(self.children(PATH), [])

    def test_context_manager(self) -> None:
        """Leaving the block releases it."""

        async def work() -> int:
            async with self.lease as lease:
                return lease.token

        self.assertEqual(self.result(Deferred.fromCoroutine(work())), self.lease.token)
        self.assertEqual(self.children(PATH), [])

    def test_lost_in_the_block(self) -> None:
        """A block that ends well without the lease fails: its work was not protected."""
        step: Deferred[None] = Deferred()

        async def work() -> None:
            async with self.lease:
                await step

        working = Deferred.fromCoroutine(work())
        self.deleting(self.lease.path)
        step.callback(None)
        self.failure(working, LeaseLostError)

    def test_error_in_the_block(self) -> None:
        """An error in the block is its outcome, lost or not."""

        async def work() -> None:
            async with self.lease:
                self.lease._lose(LeaseLostError(self.lease.path))
                raise KeyError("mine")

        self.failure(Deferred.fromCoroutine(work()), KeyError)


class ReadWriteTests(RecipeTestCase):
    """Readers share, writers do not."""

    def test_rules(self) -> None:
        """Readers together; a writer waits for them, and readers after him wait for him."""
        one, two = self.connected(), self.connected()
        first = ReadWriteLock(one, PATH, "1", reactor=self.network)
        second = ReadWriteLock(two, PATH, "2", reactor=self.network)
        readers = [self.result(lock.read().acquire()) for lock in (first, second)]
        writing, late = outcome(first.write().acquire()), None
        self.network.settle()
        late = outcome(second.read().acquire())
        self.network.settle()
        self.assertEqual((writing, late), ([], []))
        self.assertEqual(self.result(first.read().contenders()), ["1", "2", "1", "2"])
        self.result(readers[0].release())
        self.assertEqual(writing, [])
        self.result(readers[1].release())
        self.assertEqual((len(writing), late), (1, []))
        self.result(writing[0].release())
        self.assertEqual(len(late), 1)
        self.assertTrue(late[0].held)


class ElectionTests(RecipeTestCase):
    """One leads."""

    def test_succession(self) -> None:
        """When the leader's session ends the next candidate leads, and the old one knows."""
        one, two = self.connected(), self.connected()
        leading = self.result(Election(one, PATH, "one", reactor=self.network).lead())
        election = Election(two, PATH, "two", reactor=self.network)
        following = election.lead()
        self.network.settle()
        self.assertEqual(self.result(election.contenders()), ["one", "two"])
        lost = leading.lost
        self.expire(one)
        self.assertIsInstance(self.successResultOf(lost), SessionExpiredError)
        self.assertGreater(self.result(following).token, leading.token)
        self.assertEqual(self.result(election.contenders()), ["two"])


class BrokenConnectionTests(SynchronousTestCase):
    """The life of a contender, cut at every step."""

    def life(self, cut: tuple[str, int] | None, cancel: bool) -> Cable:
        """Wait behind somebody, hold it, release it; or be cancelled.  Nothing may be left."""
        network = Network()
        server = ZooKeeperServer(network, tick_time=1.0, secret=b"s")
        network.listen(HOST, PORT, server.factory)
        server.start()
        other, client = (
            ZooKeeperClient(f"{HOST}:{PORT}", TIMEOUT, reactor=network, random=Random(1))
            for _ in range(2)
        )
        other.connect()
        network.settle()
        before = Lock(other, PATH, reactor=network).acquire()
        network.settle()

        def plug(cable: Cable) -> None:
            if cut is not None and len(network.cables) == 2:
                setattr(cable, f"{'client' if cut[0] == 'server' else 'server'}_may_send", cut[1])

        network.plug = plug
        client.connect()
        network.settle()
        holding = outcome(Lock(client, PATH, reactor=network).acquire())
        network.advance(2)
        self.assertEqual(holding, [], cut)
        self.assertEqual(len(children(server, PATH)), 2, cut)
        releasing = self.successResultOf(before).release()
        network.advance(3.5)  # a ping may be what breaks it
        self.successResultOf(releasing)
        (lease,) = holding
        self.assertEqual(children(server, PATH), [lease.path.rpartition("/")[2]], cut)
        self.assertTrue(lease.certain, cut)
        if cancel:
            again = Lock(client, PATH, reactor=network).acquire()
            again.addErrback(lambda failure: failure.trap(CancelledError))
            network.run_due()
            again.cancel()
        released = lease.release()
        network.advance(2)
        self.successResultOf(released)
        self.assertEqual(children(server, PATH), [], cut)
        self.assertEqual(client.statistics().watches, 0, cut)
        cable = network.cables[1]
        closing = [client.close(), other.close()]
        network.advance(3)
        for closed in closing:
            self.successResultOf(closed)
        server.stop()
        network.settle()
        self.assertEqual(network.getDelayedCalls(), [], cut)
        return cable

    def test_every_step(self) -> None:
        """Cut before, in and after each frame, in both directions: it all comes to pass."""
        for cancel in (False, True):
            cable = self.life(None, cancel)
            points = list(cut_points(cable))
            self.assertGreater(len(points), 40)
            for point in points:
                self.life(point, cancel)


ACTIONS = ("contend", "cancel", "release", "drop", "expire", "time", "delete path")


class InterleavingTests(SynchronousTestCase):
    """Several contenders, and everything that can happen to them in any order."""

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2)), max_size=25), st.data())
    def test_never_two(self, script: list[tuple[str, int]], data: Any) -> None:
        """Never two hold it for certain, tokens rise, and in the end all get it."""
        Interleaving(self, data.draw(st.integers(0, 3))).run(script)


class Interleaving:
    """Three clients and a script."""

    def __init__(self, test: SynchronousTestCase, seed: int) -> None:
        self.test = test
        self.network = Network()
        self.server = ZooKeeperServer(self.network, tick_time=1.0, secret=b"s")
        self.network.listen(HOST, PORT, self.server.factory)
        self.server.start()
        self.clients = [
            ZooKeeperClient(f"{HOST}:{PORT}", TIMEOUT, reactor=self.network, random=Random(seed))
            for _ in range(3)
        ]
        for client in self.clients:
            client.connect()
        self.network.settle()
        self.waiting: list[tuple[int, Deferred[Lease]]] = []
        self.leases: list[tuple[int, Lease]] = []
        self.tokens: list[int] = []

    def run(self, script: list[tuple[str, int]]) -> None:
        """Follow the script, then let everything come to its end."""
        for action, number in script:
            getattr(self, "do_" + action.replace(" ", "_"))(number)
            self.check()
        self.network.advance(TIMEOUT * 2)
        self.check()
        for _ in range(len(self.waiting) + 1):
            for _, lease in self.leases:
                lease.release()
            self.network.advance(3)
            self.check()
        self.test.assertEqual(self.waiting, [])
        self.test.assertEqual(children(self.server, PATH), [])
        closing = [client.close() for client in self.clients]
        self.network.advance(3)
        for closed in closing:
            self.test.successResultOf(closed)
        self.server.stop()
        self.network.settle()
        self.test.assertEqual(self.network.getDelayedCalls(), [])

    def do_contend(self, number: int) -> None:
        """One more; bytes move, or not yet."""
        acquiring = Lock(self.clients[number], PATH, reactor=self.network).acquire()
        self.waiting.append((number, acquiring))

        def got(lease: Lease) -> None:
            self.waiting.remove((number, acquiring))
            self.leases.append((number, lease))
            self.test.assertTrue(all(lease.token > token for token in self.tokens))
            self.tokens.append(lease.token)

        acquiring.addCallback(got)
        self.network.run_due()

    def do_cancel(self, number: int) -> None:
        """A client's first contender gives up."""
        for contender in self.waiting:
            if contender[0] == number:
                self.waiting.remove(contender)
                contender[1].addErrback(lambda failure: failure.trap(CancelledError))
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
        identity = self.clients[number].client_id
        if identity is not None:
            self.server.drop(identity[0])
        self.network.run_due()

    def do_expire(self, number: int) -> None:
        """A client's session ends."""
        identity = self.clients[number].client_id
        if identity is not None:
            self.server.expire(identity[0])

    def do_time(self, number: int) -> None:
        """Some time goes by."""
        self.network.advance(number)

    def do_delete_path(self, number: int) -> None:
        """Somebody tidies up, if there is nothing left."""
        self.clients[number].delete(PATH).addErrback(lambda failure: None)
        self.network.settle()

    def check(self) -> None:
        """No two nodes that are leases' exist at a time."""
        alive = set(children(self.server, PATH))
        held = [
            lease
            for _, lease in self.leases
            if lease.held and lease.path.rpartition("/")[2] in alive
        ]
        self.test.assertLessEqual(len(held), 1)
