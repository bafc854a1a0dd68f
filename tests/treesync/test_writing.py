"""Tests of ``zkservice.treesync.writing``: plans on a server, changed by others too."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from twisted.internet.defer import Deferred

from tests import effort
from tests.tree.strategies import trees
from tests.treesync.base import Intercepted, ServerTestCase
from tests.treesync.test_reading import TREE, wide
from zkservice.errors import (
    BadVersionError,
    ConnectionLossError,
    NodeExistsError,
    NotAtomicError,
    NotEmptyError,
    PlanFailedError,
    RequestTooLargeError,
    TreeChangedError,
)
from zkservice.tree import TreeNode, parse_tree
from zkservice.tree.plan import Create, Plan, SetACL
from zkservice.treesync import apply_plan, make_delete_plan, make_import_plan
from zkservice.treesync.writing import BATCH, Outcome
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, Id


class CarryOutTests(ServerTestCase):
    """Plans without changes by other clients meanwhile."""

    async def test_an_imported_tree_is_there(self) -> None:
        """The tree is below its path, with its ACL."""
        await self.client.create("/p")
        acl = (ACL(15, Id("world", "anyone")),)
        outcome = await self.put(TREE, "/p", acl=acl)
        self.assertEqual(outcome, Outcome(4, 4))
        self.assertEqual(await self.tree("/p"), TREE)
        self.assertEqual((await self.client.get_acl("/p/a/c"))[0], list(acl))
        self.assertEqual((await self.client.get("/p/b"))[0], b"plain")

    async def test_bug_17_depth_and_breadth(self) -> None:
        """500 levels and 3,000 nodes are imported, imported again, read and deleted."""
        tree = wide(2500)
        tree.children["deep"] = deepest = TreeNode()
        for level in range(499):
            deepest.children["d"] = deepest = TreeNode({"level": level})
        self.assertEqual((await self.put(tree)).done, 25 + 2500 + 500)
        self.assertEqual(await self.tree(), tree)
        self.assertEqual((await self.put(tree)).done, 0)
        plan = await make_delete_plan(self.client, "/deep")
        self.assertEqual((await apply_plan(self.client, plan)).done, 500)

    async def test_changes_share_requests(self) -> None:
        """Many changes are sent in few requests."""
        requests = 0

        def count(name: str, call: Any, *args: Any) -> Any:
            nonlocal requests
            requests += name in ("create", "transaction")
            return call()

        tree = wide(1000)
        plan = await make_import_plan(self.client, tree, acl=OPEN_ACL_UNSAFE)
        client: Any = Intercepted(self.client, count)
        await apply_plan(client, plan)
        self.assertEqual(requests, -(-1010 // BATCH))

    async def test_requests_stay_below_the_limit_of_size(self) -> None:
        """Data near the limit are sent alone; many nodes of some size in several transactions."""
        tree = TreeNode({}, {f"n{i}": TreeNode({"string_value": "x" * 200_000}) for i in range(12)})
        tree.children["large"] = TreeNode({"string_value": "x" * 1_040_000})
        self.assertEqual((await self.put(tree)).done, 13)
        self.assertEqual(await self.tree(), tree)

    async def test_progress_is_reported(self) -> None:
        """The callback receives the number of changes made and of all."""
        told: list[tuple[int, int]] = []
        plan = await make_import_plan(self.client, wide(300), acl=OPEN_ACL_UNSAFE)
        await apply_plan(self.client, plan, progress=lambda *args: told.append(args))
        self.assertEqual(told[-1], (303, 303))
        self.assertEqual(told, sorted(told))

    async def test_a_stop_leaves_parents_first(self) -> None:
        """A stop in the middle leaves a part of the tree, parents first, and reports how much."""
        tree, done = wide(3000), 0

        def note(made: int, total: int) -> None:
            nonlocal done
            done = made

        plan = await make_import_plan(self.client, tree, acl=OPEN_ACL_UNSAFE)
        outcome = await apply_plan(
            self.client, plan, progress=note, should_stop=lambda: done >= 500
        )
        self.assertTrue(outcome.stopped)
        self.assertTrue(500 <= outcome.done < outcome.total, outcome)
        there = await self.tree()
        self.assertEqual(sum(1 for _ in there.walk()) - 1, outcome.done)
        await self.put(tree)
        self.assertEqual(await self.tree(), tree)


class InterferenceTests(ServerTestCase):
    """Others change what a plan is about, between the plan and the change."""

    async def plan(self, text: str, **options: Any) -> Plan:
        """A plan for a tree over what is there."""
        options = {"acl": OPEN_ACL_UNSAFE, "trim": True, **options}
        return await make_import_plan(self.client, parse_tree(text), **options)

    async def refused(self, plan: Plan, path: str, cause: type[Exception], done: int) -> None:
        """Carrying the plan out fails at this node, for this reason, after so many changes."""
        for atomic in (True, False):
            carried = apply_plan(self.client, plan, atomic=atomic)
            error = await self.assertFailure(carried, TreeChangedError)
            assert isinstance(error, TreeChangedError)
            self.assertEqual(error.path, path)
            self.assertIsInstance(error.cause, cause)
            self.assertEqual(error.done, 0 if atomic else done)
            self.assertIn(path, str(error))

    async def test_a_node_that_was_set_is_not_overwritten(self) -> None:
        """A node that another client has set meanwhile is named."""
        await self.put("/a\n  x = 1\n/b\n  x = 1\n/c\n  x = 1\n")
        plan = await self.plan("/a\n  x = 2\n/b\n  x = 2\n/c\n  x = 2\n")
        await self.client.set("/b", b'{"x":3}')
        await self.refused(plan, "/b", BadVersionError, 1)
        self.assertEqual((await self.client.get("/b"))[0], b'{"x":3}')
        self.assertEqual((await self.client.get("/a"))[0], b'{"x":2}')

    async def test_a_node_that_was_created_is_not_overwritten(self) -> None:
        """A node that another client has created meanwhile is named."""
        plan = await self.plan("/a\n/b\n  /c\n/d\n")
        await self.client.create("/b", b"theirs")
        await self.refused(plan, "/b", NodeExistsError, 1)
        self.assertEqual((await self.client.get("/b"))[0], b"theirs")

    async def test_a_node_with_a_new_child_is_not_deleted(self) -> None:
        """The error names the node that is not empty."""
        await self.put("/a\n  /b\n    /c\n")
        plan = await self.plan("/a\n")
        await self.client.create("/a/b/new")
        await self.refused(plan, "/a/b", NotEmptyError, 1)

    async def test_an_acl_that_was_set_is_not_overwritten(self) -> None:
        """An ACL that another client has set meanwhile is left alone."""
        await self.put("/a\n")
        plan = await self.plan("/a\n", acl=READ_ACL_UNSAFE)
        theirs = [ACL(31, Id("world", "anyone")), ACL(1, Id("ip", "127.0.0.1"))]
        await self.client.set_acl("/a", theirs)
        error = await self.assertFailure(apply_plan(self.client, plan), TreeChangedError)
        self.assertEqual(error.path, "/a")  # type: ignore[attr-defined]
        self.assertEqual((await self.client.get_acl("/a"))[0], theirs)

    async def test_bug_17_vanished_meanwhile(self) -> None:
        """Nodes that another client has deleted meanwhile count as deleted."""
        await self.put("/a\n  /b\n    /c\n  /d\n  /e\n")
        plan = await self.plan("/a\n")
        await self.client.delete("/a/b/c")
        await self.client.delete("/a/e")
        self.assertEqual(await apply_plan(self.client, plan), Outcome(4, 4))
        self.assertEqual(await self.tree(), parse_tree("/a\n"))

    async def test_other_refusals_are_not_concurrent_changes(self) -> None:
        """A change that is not allowed is named, and is not a TreeChangedError."""
        await self.client.create("/a", b"", READ_ACL_UNSAFE)
        plan = await self.plan("/a\n  /b\n", acl=READ_ACL_UNSAFE)
        error = await self.assertFailure(apply_plan(self.client, plan), PlanFailedError)
        self.assertNotIsInstance(error, TreeChangedError)
        self.assertEqual(error.path, "/a/b")  # type: ignore[attr-defined]


class AtomicTests(ServerTestCase):
    """Plans in one transaction."""

    async def test_acls_cannot_change_in_a_transaction(self) -> None:
        """The plan is refused, and nothing is done."""
        plan = Plan(
            (
                Create("/n", b"", OPEN_ACL_UNSAFE),
                SetACL("/a", OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, 0),
            )
        )
        await self.assertFailure(apply_plan(self.client, plan, atomic=True), NotAtomicError)
        self.assertEqual(await self.tree(), TreeNode())

    async def test_too_large_transactions_are_refused(self) -> None:
        """A plan that does not fit into one transaction is refused, and nothing is done."""
        changes = [Create(f"/n{i}", b"x" * 300_000, OPEN_ACL_UNSAFE) for i in range(5)]
        carried: Deferred[Outcome] = apply_plan(self.client, Plan(tuple(changes)), atomic=True)
        await self.assertFailure(carried, RequestTooLargeError)
        self.assertEqual(await self.tree(), TreeNode())


class UnchangedTests(ServerTestCase):
    """What is as it should be is left alone."""

    async def test_any_tree_replaces_any_other(self) -> None:
        """Any tree over any other becomes the tree; a second import writes nothing."""
        samples: list[TreeNode] = []

        @settings(
            max_examples=effort(25, 8),
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        )
        @given(trees)
        def collect(tree: TreeNode) -> None:
            samples.append(TreeNode({}, {"top": tree}))

        collect()
        for sample in samples:
            await self.put(sample)
            self.assertEqual((await self.tree()).children["top"], sample.children["top"])
            before = self.zxid
            self.assertEqual(await self.put(sample), Outcome(0, 0))
            self.assertEqual(self.zxid, before)

    async def test_bug_6_unchanged_nodes_wake_nobody(self) -> None:
        """Importing what is there already writes nothing and fires no watch."""
        await self.put(TREE)
        before = self.zxid
        _, watch = self.client.get_and_watch("/a")
        await self.put(TREE)
        self.assertEqual(self.zxid, before)
        self.assertFalse(watch.called)
        await self.put("/a : t\n  x = 2\n", trim=False)
        self.assertEqual((await watch).path, "/a")


class LostConnectionTests(ServerTestCase):
    """Connections that break while a plan is carried out."""

    async def test_a_lost_connection_fails_with_the_place(self) -> None:
        """The error names a node near the place; a new plan finishes the import."""
        tree = wide(3000)
        plan = await make_import_plan(self.client, tree, acl=OPEN_ACL_UNSAFE)

        def drop(done: int, total: int) -> None:
            if 500 < done < 600:
                assert self.client.client_id is not None
                self.zookeeper.drop(self.client.client_id[0])

        carried = apply_plan(self.client, plan, progress=drop)
        error = await self.assertFailure(carried, PlanFailedError)
        assert isinstance(error, PlanFailedError)
        self.assertIsInstance(error.cause, ConnectionLossError)
        self.assertGreater(error.done, 500)
        await self.put(tree)
        self.assertEqual(await self.tree(), tree)


class OneMomentTests(ServerTestCase):
    """A transaction is one change of the server."""

    async def test_atomic_plans_are_one_transaction(self) -> None:
        """Creations, changes and deletions happen at one moment."""
        await self.put("/a\n  x = 1\n  /b\n")
        plan = await make_import_plan(
            self.client,
            parse_tree("/a\n  x = 2\n  /c\n    /d\n"),
            acl=OPEN_ACL_UNSAFE,
            trim=True,
        )
        before = self.zxid
        self.assertEqual(await apply_plan(self.client, plan, atomic=True), Outcome(4, 4))
        self.assertEqual(self.zxid, before + 1)
        self.assertEqual(await self.tree(), parse_tree("/a\n  x = 2\n  /c\n    /d\n"))

    async def test_unchanged_nodes_have_to_stay_as_they_were(self) -> None:
        """Of two imports at the same time one fails, although each writes other nodes."""
        await self.put("/a\n  x = 1\n")
        plan = await make_import_plan(
            self.client, parse_tree("/a\n  x = 1\n  /b\n"), acl=OPEN_ACL_UNSAFE
        )
        await self.client.set("/a", b'{"x": 2}')
        error: Any = await self.assertFailure(
            apply_plan(self.client, plan, atomic=True), TreeChangedError
        )
        self.assertEqual((error.path, error.done), ("/a", 0))
        self.assertEqual(await self.tree(), parse_tree("/a\n  x = 2\n"))

    async def test_an_empty_plan_sends_nothing(self) -> None:
        """Without changes there is no transaction."""
        before = self.zxid
        self.assertEqual(await apply_plan(self.client, Plan(), atomic=True), Outcome(0, 0))
        self.assertEqual(self.zxid, before)
