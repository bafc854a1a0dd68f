"""Tests for `zkservice.recipes.party`."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.client.base import TIMEOUT, ignore_close
from tests.recipes.base import RecipeTestCase, nodes_left
from tests.recipes.world import World, at_every_step, outcome
from zkservice.client import ZooKeeperClient
from zkservice.errors import (
    ClientClosedError,
    InvalidPathError,
    NoAuthError,
    SessionExpiredError,
)
from zkservice.recipes import Membership, Party, ShallowParty
from zkservice.wire.acl import ACL, ANYONE, OPEN_ACL_UNSAFE, Permission

PATH = "/workers/one"


class PartyTestCase(RecipeTestCase):
    """Two clients."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.one, self.two = self.connected(), self.connected()

    def party(self, client: ZooKeeperClient, name: str = "") -> Party:
        """A client's object for the party."""
        return Party(client, PATH, name, reactor=self.network)

    def joined(self, client: ZooKeeperClient, name: str = "") -> Membership:
        """A new member."""
        return self.result(self.party(client, name).join())

    def members(self) -> list[str]:
        """The members, read by another client."""
        return self.result(self.party(self.bystander).members())

    def changing(self, *known: str) -> Deferred[list[str]]:
        """A call of `changed`, in progress as far as possible without another event."""
        changing = self.party(self.bystander).changed(known)
        self.addCleanup(ignore_close, changing)
        self.network.settle()
        return changing


class MemberTests(PartyTestCase):
    """Members that join, leave and expire."""

    def test_come_and_go(self) -> None:
        """Members are in the order in which they joined; nodes have kazoo's names."""
        self.assertEqual(self.members(), [])
        memberships = [self.joined(self.one, name) for name in ("z", "a", "z")]
        self.assertEqual(self.members(), ["z", "a", "z"])
        for name in self.children(PATH):
            self.assertRegex(name, "^[0-9a-f]{32}__party__$")
        self.result(memberships[0].leave())
        self.assertEqual(self.members(), ["a", "z"])
        self.assertEqual([one.present for one in memberships], [False, True, True])
        self.assertEqual(repr(memberships[1]), f"<Membership {memberships[1].path} present>")

    def test_leaving_again_is_fine(self) -> None:
        """Leaving again has no effect, and no watch is left."""
        membership = self.joined(self.one)
        for _ in range(2):
            self.assertIsNone(self.result(membership.leave()))
        self.assertEqual((self.members(), self.one.statistics().watches), ([], 0))

    def test_block_is_a_member(self) -> None:
        """The member leaves at the end of the block."""

        async def work() -> list[str]:
            async with await self.party(self.one, "a").join():
                return await self.party(self.one).members()

        self.assertEqual(self.result(Deferred.fromCoroutine(work())), ["a"])
        self.assertEqual(self.members(), [])

    def test_other_nodes_are_not_members(self) -> None:
        """Nodes with other names are not counted."""
        self.result(self.bystander.ensure_path(PATH + "/else"))
        self.joined(self.one, "a")
        self.assertEqual(self.members(), ["a"])

    def test_members_are_read_in_parallel(self) -> None:
        """All members are read concurrently."""
        for number in range(20):
            self.joined(self.one, str(number))
        self.result(self.bystander.exists(PATH))
        reading, most = self.party(self.bystander).members(), 0
        for _ in range(20):
            self.network.run_due()
            most = max(most, self.bystander.statistics().outstanding)
            for cable in self.network.cables:
                cable.deliver()
        self.assertEqual((len(self.successResultOf(reading)), most), (20, 20))

    def test_reconnect_costs_nothing(self) -> None:
        """A connection that breaks does not end the membership."""
        membership = self.joined(self.one)
        path = membership.path
        self.drop(self.one)
        self.network.advance(2)
        self.assertEqual((membership.path, membership.present), (path, True))

    def test_member_rejoins_after_expiry(self) -> None:
        """It rejoins automatically after each expiry."""
        membership = self.joined(self.one, "a")
        for _ in range(3):
            path = membership.path
            self.expire(self.one)
            self.assertEqual((self.members(), membership.present), (["a"], True))
            self.assertNotEqual(membership.path, path)
        self.result(membership.leave())
        self.expire(self.one)
        self.assertEqual(self.members(), [])

    def test_expired_before_the_server_knows(self) -> None:
        """If the client expires the session before the server, the member is not counted twice."""
        membership = self.joined(self.one, "a")
        self.give_up(self.one)
        self.assertFalse(membership.present)
        self.accept_again()
        self.network.advance(2)
        self.assertTrue(membership.present)
        self.network.advance(TIMEOUT)
        self.assertEqual(self.members(), ["a"])

    def test_deleted_member_rejoins_after_a_second(self) -> None:
        """It rejoins after a second, not sooner."""
        membership = self.joined(self.one, "a")
        self.deleting(membership.path)
        self.deleting(PATH)
        self.network.advance(0.9)
        self.assertEqual((self.children("/workers"), membership.present), ([], False))
        self.network.advance(0.2)
        self.assertEqual((self.members(), membership.present), (["a"], True))

    def test_left_while_absent(self) -> None:
        """A member that leaves while its node is missing does not rejoin."""
        membership = self.joined(self.one, "a")
        self.deleting(membership.path)
        self.assertIsNone(self.result(membership.leave()))
        self.network.advance(3)
        self.assertEqual(self.members(), [])

    def test_left_while_cut_off(self) -> None:
        """A member that leaves without a connection is removed as soon as there is one."""
        membership = self.joined(self.one, "a")
        self.server.refuse = True
        self.drop(self.one)
        leaving = membership.leave()
        self.network.settle()
        self.assertNoResult(leaving)
        self.server.refuse = False
        self.network.advance(2)
        self.assertIsNone(self.successResultOf(leaving))
        self.assertEqual(self.members(), [])

    def test_a_cancelled_member_has_not_joined(self) -> None:
        """A cancelled member has not joined, even if the reply was lost."""
        self.result(self.bystander.ensure_path(PATH))
        cable = self.network.cables[0]
        cable.server_may_send = len(cable.client.received) + 1
        joining = self.party(self.one).join()
        self.network.settle()
        self.assertEqual(len(self.children(PATH)), 1)
        left = nodes_left(self, joining, PATH)
        joining.cancel()
        self.network.advance(2)
        self.assertEqual((left, self.children(PATH)), ([0], []))

    def test_refused_for_a_while(self) -> None:
        """A member that may not rejoin logs that once, and retries."""
        membership = self.joined(self.one, "a")
        no_delete = [ACL(int(Permission.READ | Permission.ADMIN), ANYONE)]
        self.result(self.bystander.set_acl(PATH, no_delete))
        with capturedLogs() as events:
            self.expire(self.one)
            self.network.advance(3)
        self.assertFalse(membership.present)
        warnings = [one for one in events if one.get("where") == PATH]
        self.assertEqual([one["log_level"] for one in warnings], [LogLevel.warn])
        self.assertIsInstance(warnings[0]["error"], NoAuthError)
        self.result(self.bystander.set_acl(PATH, OPEN_ACL_UNSAFE))
        self.network.advance(2)
        self.assertEqual((self.members(), membership.present), (["a"], True))

    def test_joining_fails_without_access_or_session(self) -> None:
        """Joining fails with the client's errors."""
        acl = [ACL(int(Permission.READ), ANYONE)]
        self.result(self.bystander.create("/sealed", acl=acl))
        self.failure(Party(self.one, "/sealed", reactor=self.network).join(), NoAuthError)
        last = self.connected(new_session=False)
        self.assertTrue(self.server.expire(self.session(last)))
        joining = self.party(last).join()
        self.network.advance(1)
        self.failure(joining, SessionExpiredError)
        self.assertRaises(InvalidPathError, Party, self.one, "x", reactor=self.network)

    def test_membership_ends_with_its_client(self) -> None:
        """It is logged as information only."""
        membership = self.joined(self.one, "a")
        self.result(self.one.close())
        self.assertFalse(membership.present)
        self.assertEqual(self.members(), [])
        self.assertIsNone(self.result(membership.leave()))
        self.failure(self.party(self.one).members(), ClientClosedError)


class ChangeTests(PartyTestCase):
    """Waiting for changes of the members."""

    def test_changed_fires_at_the_next_change(self) -> None:
        """It fires at once if the members differ already."""
        changing = self.changing()
        self.assertNoResult(changing)
        membership = self.joined(self.one, "a")
        self.assertEqual(self.successResultOf(changing), ["a"])
        self.assertEqual(self.successResultOf(self.changing()), ["a"])
        changing = self.changing("a")
        self.result(membership.leave())
        self.assertEqual(self.successResultOf(changing), [])
        self.assertEqual(self.bystander.statistics().watches, 0)

    def test_changed_ignores_changes_that_leave_the_members(self) -> None:
        """Nodes with other names do not count, either."""
        membership = self.joined(self.one, "a")
        changing = self.changing("a")
        self.joined(self.two, "a")
        self.assertEqual(self.successResultOf(changing), ["a", "a"])
        changing = self.changing("a", "a")
        self.result(self.bystander.create(PATH + "/else"))
        self.assertNoResult(changing)
        self.result(membership.leave())
        self.assertEqual(self.successResultOf(changing), ["a"])

    def test_while_cut_off(self) -> None:
        """A change without a connection, or between two sessions, is not missed."""
        for end in (self.server.drop, self.server.expire):
            changing = self.changing()
            self.server.refuse = True
            self.assertTrue(end(self.session(self.bystander)))
            membership = self.joined(self.one, "a") if end == self.server.drop else None
            self.server.refuse = False
            self.network.advance(2)
            membership = membership or self.joined(self.one, "a")
            self.assertEqual(self.successResultOf(changing), ["a"])
            self.result(membership.leave())

    def test_changed_survives_the_deletion_of_the_path(self) -> None:
        """It continues to wait."""
        changing = self.changing()
        self.deleting(PATH)
        self.assertNoResult(changing)
        self.joined(self.one, "a")
        self.assertEqual(self.successResultOf(changing), ["a"])

    def test_a_cancelled_wait_leaves_no_watch(self) -> None:
        """A cancelled wait leaves no watch."""
        changing = self.changing()
        changing.cancel()
        self.failure(changing, CancelledError)
        self.assertEqual(self.bystander.statistics().watches, 0)


class ShallowTests(PartyTestCase):
    """Parties whose identifiers are in the names of the nodes."""

    @override
    def party(self, client: ZooKeeperClient, name: str = "") -> Party:
        return ShallowParty(client, PATH, name, reactor=self.network)

    def test_identifiers_are_in_the_names(self) -> None:
        """Identifiers may have any characters that are allowed in names."""
        for name in ("b-1", "a", ""):
            self.joined(self.one, name)
        self.result(self.bystander.ensure_path(PATH + "/else"))
        self.assertEqual(self.members(), ["", "a", "b-1"])
        self.assertEqual(self.successResultOf(self.changing("", "a")), ["", "a", "b-1"])

    def test_invalid_identifier_is_refused(self) -> None:
        """One that cannot be in a name is refused by the constructor."""
        self.assertRaises(InvalidPathError, self.party, self.one, "a/b")


class BrokenConnectionTests(SynchronousTestCase):
    """A connection, cut at every step."""

    def lives(self, world: World) -> None:
        """Join, see another member join, leave."""
        ours, others = (
            Party(client, PATH, name, reactor=world.network)
            for client, name in zip(reversed(world.clients), ("ours", "theirs"), strict=True)
        )
        membership = world.result(ours.join())
        self.assertEqual(world.result(ours.members()), ["ours"])
        changed: list[Any] = outcome(ours.changed(["ours"]))
        world.wait()
        self.assertEqual(changed, [])
        theirs = world.result(others.join())
        world.wait()
        self.assertEqual((changed, membership.present), ([["ours", "theirs"]], True))
        world.result(membership.leave())
        self.assertEqual(world.result(others.members()), ["theirs"])
        world.result(theirs.leave())
        self.assertEqual(world.children(PATH), [])

    def test_survives_cuts_at_every_step(self) -> None:
        """Cut before, in and after each frame, in both directions: all of it happens."""
        at_every_step(self, 2, self.lives)
