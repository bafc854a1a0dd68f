"""Tests for `zkservice.recipes.change`."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.recipes.base import RecipeTestCase
from tests.recipes.world import World, at_every_step
from zkservice.errors import ConnectionLossError
from zkservice.recipes import Counter, retry_change
from zkservice.wire.acl import ACL, ANYONE, Permission
from zkservice.wire.records import Stat

PATH = "/some/where"


class RetryChangeTests(RecipeTestCase):
    """A function computes the new data from the old."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.one = self.connected()
        self.seen: list[tuple[bytes | None, int | None]] = []

    def append(self, data: bytes | None, stat: Stat | None) -> bytes:
        """Append a letter, and record the arguments."""
        self.seen.append((data, None if stat is None else stat.version))
        return (data or b"") + b"x"

    def change(self, change: object = None) -> bytes:
        """The result of a change."""
        return self.result(
            retry_change(self.one, PATH, change or self.append, reactor=self.network)  # type: ignore[arg-type]
        )

    def data(self) -> tuple[bytes, int]:
        """The node's data and version."""
        data, stat = self.result(self.bystander.get(PATH))
        return data, stat.version

    def test_created_and_changed(self) -> None:
        """A missing node is created with its parents; then it is changed."""
        self.assertEqual(self.change(), b"x")
        self.assertEqual(self.change(), b"xx")
        self.assertEqual(self.data(), (b"xx", 1))
        self.assertEqual(self.seen, [(None, None), (b"x", 0)])

    def test_nothing_to_change(self) -> None:
        """Equal data are not written."""
        self.change()
        self.assertEqual(self.change(lambda data, stat: data), b"x")
        self.assertEqual(self.data(), (b"x", 0))

    def test_empty_data_create_the_node(self) -> None:
        """A node is created for empty data, too."""
        self.assertEqual(self.change(lambda data, stat: b""), b"")
        self.assertEqual(self.data(), (b"", 0))

    def test_function_may_return_an_awaitable(self) -> None:
        """The function may return a Deferred."""
        self.assertEqual(self.change(lambda data, stat: succeed(b"later")), b"later")

    def test_error_of_the_function_is_the_outcome(self) -> None:
        """An exception of the function fails the call, and nothing is written."""

        def refuse(data: bytes | None, stat: Stat | None) -> bytes:
            raise KeyError("no")

        failing = retry_change(self.one, PATH, refuse, reactor=self.network)
        self.failure(failing, KeyError)
        self.assertIsNone(self.result(self.bystander.exists(PATH)))

    def race(self, *others: str) -> bytes:
        """Change while another client acts between the read and the write."""
        moves = list(others)

        def slow(data: bytes | None, stat: Stat | None) -> Deferred[bytes]:
            result = self.append(data, stat)
            if not moves:
                return succeed(result)
            move = moves.pop(0)
            if move == "create":
                moving = self.bystander.ensure_path(PATH)
            elif move == "delete":
                moving = self.bystander.delete(PATH)
            else:
                moving = self.bystander.set(PATH, b"y").addCallback(lambda _: None)
            return moving.addCallback(lambda _: result)

        return self.change(slow)

    def test_function_is_called_again_after_a_race(self) -> None:
        """Another client creates, sets and deletes the node meanwhile."""
        self.assertEqual(self.race("create", "set", "delete"), b"x")
        self.assertEqual(self.seen, [(None, None), (b"", 0), (b"y", 1), (None, None)])

    def test_change_survives_the_session(self) -> None:
        """A change continues in the next session."""
        self.server.refuse = True
        self.drop(self.one)
        changing = retry_change(self.one, PATH, self.append, reactor=self.network)
        self.network.advance(20)
        self.server.refuse = False
        self.network.advance(5)
        self.assertEqual(self.successResultOf(changing), b"x")


class CounterTests(RecipeTestCase):
    """Each change of each client is counted once."""

    def test_counter_counts_up_and_down_from_the_default(self) -> None:
        """It counts up and down, beginning with the default."""
        counter = Counter(self.connected(), PATH, 5, reactor=self.network)
        self.assertEqual(self.result(counter.value()), 5)
        self.assertEqual(self.result(counter.add()), 6)
        self.assertEqual(self.result(counter.add(-10)), -4)
        self.assertEqual(self.result(counter.value()), -4)
        self.assertEqual(self.result(self.bystander.get(PATH))[0], b"-4")

    def test_a_part_of_a_number_is_refused(self) -> None:
        """It would be dropped without a word; nothing is sent."""
        counter = Counter(self.connected(), PATH, reactor=self.network)
        for amount in (0.5, "3"):
            with self.assertRaisesRegex(TypeError, f"whole numbers, not by {amount!r}"):
                counter.add(amount)  # type: ignore[arg-type]
        self.assertIsNone(self.result(self.bystander.exists(PATH)))

    def test_at_the_same_time(self) -> None:
        """Three clients count at the same time, and nothing is lost."""
        counters = [Counter(self.connected(), PATH, reactor=self.network) for _ in range(3)]
        adding = [counter.add(amount) for counter in counters for amount in (1, 10, 100)]
        self.network.settle()
        self.assertEqual(max(self.successResultOf(one) for one in adding), 333)
        self.assertEqual(self.result(counters[0].value()), 333)

    def test_data_that_are_not_a_number_are_an_error(self) -> None:
        """The calls fail, and the data are not changed."""
        self.result(self.bystander.ensure_path(PATH))
        self.result(self.bystander.set(PATH, b"hello"))
        counter = Counter(self.connected(), PATH, reactor=self.network)
        self.failure(counter.add(), ValueError)
        self.failure(counter.value(), ValueError)

    def test_another_node_of_the_same_version(self) -> None:
        """If another client replaces the node, the change is made again from its data."""
        client = self.connected()
        counter = Counter(client, PATH, 1, reactor=self.network)
        other = self.bystander
        self.result(other.ensure_path(PATH))
        self.lose_reply(client, second=True)  # to the write
        adding = counter.add()
        self.network.settle()
        self.assertEqual(self.result(other.get(PATH))[0], b"2")
        for mark in self.children(PATH):
            self.result(other.delete(f"{PATH}/{mark}"))
        self.result(other.delete(PATH))
        self.result(other.create(PATH, b"40"))
        self.network.advance(3)
        self.assertEqual(self.successResultOf(adding), 41)
        self.assertEqual(self.result(other.get(PATH))[0], b"41")

    def test_the_same_by_another(self) -> None:
        """A lost request is repeated, although another client has written the same data."""
        client = self.connected()
        counter = Counter(client, PATH, reactor=self.network)
        self.result(counter.add())
        cable = self.cable
        cable.client_may_send = len(cable.server.received) + 40  # the read, and half of the write
        adding = counter.add()
        self.network.settle()
        self.assertFalse(cable.up)
        self.assertEqual(self.result(self.bystander.set(PATH, b"2")).version, 1)
        self.network.advance(3)
        self.assertEqual(self.successResultOf(adding), 3)
        self.assertEqual(self.result(self.bystander.get(PATH))[0], b"3")
        self.assertEqual(self.children(PATH), [])

    def test_lost_reply_and_others(self) -> None:
        """A change with a lost reply is counted once, although another client has counted since."""
        client = self.connected()
        counter = Counter(client, PATH, reactor=self.network)
        self.result(counter.add())
        self.lose_reply(client, second=True)
        adding = counter.add()
        self.network.settle()
        self.assertEqual(self.result(self.bystander.get(PATH))[0], b"2")
        other = Counter(self.bystander, PATH, reactor=self.network)
        self.assertEqual(self.result(other.add(5)), 7)
        self.network.advance(3)
        self.assertEqual(self.successResultOf(adding), 2)
        self.assertEqual(self.result(other.value()), 7)
        self.assertEqual(self.children(PATH), [])

    def test_no_marks_allowed(self) -> None:
        """Without permission for marks, a write with an unknown outcome fails."""
        acl = [ACL(int(Permission.READ | Permission.WRITE), ANYONE)]
        self.result(self.bystander.ensure_path("/some"))
        self.result(self.bystander.create(PATH, b"1", acl))
        client = self.connected()
        counter = Counter(client, PATH, reactor=self.network)
        self.assertEqual(self.result(counter.add()), 2)
        self.lose_reply(client, second=True)
        adding = counter.add()
        self.network.settle()
        self.assertEqual(self.result(self.bystander.set(PATH, b"9")).version, 3)
        self.network.advance(3)
        self.failureResultOf(adding, ConnectionLossError)


class BrokenConnectionTests(SynchronousTestCase):
    """The connection, cut at every step."""

    def changes(self, world: World) -> None:
        """Make two changes, and check that each was made once."""
        (client,) = world.clients

        def append(data: bytes | None, _: Stat | None) -> bytes:
            return (data or b"") + b"x"

        for expected in (b"x", b"xx"):
            changing = retry_change(client, PATH, append, reactor=world.network)
            self.assertEqual(world.result(changing), expected)
        self.assertEqual(world.server.tree()[PATH], b"xx")

    def counts(self, world: World) -> None:
        """Count three times, and check each result."""
        (client,) = world.clients
        counter = Counter(client, PATH, reactor=world.network)
        for expected in (1, 2, 3):
            self.assertEqual(world.result(counter.add()), expected)
        self.assertEqual(world.result(counter.value()), 3)
        self.assertEqual(world.children(PATH), [])

    def test_changes_survive_cuts_at_every_step(self) -> None:
        """Cut before, in and after each frame, in both directions: both are made once."""
        at_every_step(self, 1, self.changes)

    def test_counter_is_right_after_any_cuts(self) -> None:
        """The count is right after a cut before, in and after each frame."""
        at_every_step(self, 1, self.counts)
