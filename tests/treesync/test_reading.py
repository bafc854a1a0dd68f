"""Tests of ``zkservice.treesync.reading``."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail

from tests.treesync.base import Intercepted, ServerTestCase, asked
from zkservice.errors import (
    InvalidPathError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    UnimplementedError,
)
from zkservice.tree import TreeNode, parse_tree
from zkservice.tree.plan import Delete, SetACL
from zkservice.treesync import make_delete_plan, make_import_plan, read_tree, walk
from zkservice.treesync.bounded_requests import LIMIT
from zkservice.treesync.reading import BATCHES
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, Id

TREE = parse_tree(
    """
/a : t
  x = 1
  l -> /b
  /c
    /d
      y = 'two'
/b
  string_value = 'plain'
"""
)


def wide(count: int) -> TreeNode:
    """A tree of 100 nodes below each of some."""
    return TreeNode(
        {},
        {
            f"s{i}": TreeNode({}, {f"n{j:02}": TreeNode({"j": j}) for j in range(100)})
            for i in range(count // 100)
        },
    )


class ReadTests(ServerTestCase):
    """What is read of a server."""

    async def test_ephemeral_nodes_are_marked(self) -> None:
        """Ephemeral nodes are distinguished from others."""
        await self.client.create("/e", b"", ephemeral=True)
        self.assertTrue((await read_tree(self.client)).children["e"].ephemeral)
        self.assertTrue((await read_tree(self.client, "/e")).ephemeral)

    async def test_missing_nodes_are_named(self) -> None:
        """The error names the node that does not exist."""
        with self.assertRaises(NoNodeError) as caught:
            await read_tree(self.client, "/n/m")
        self.assertEqual(caught.exception.path, "/n/m")
        with self.assertRaises(NoNodeError):
            await make_delete_plan(self.client, "/n/m")

    async def test_unreadable_nodes_are_named(self) -> None:
        """The error names the node that may not be read."""
        await self.put("/a\n")
        await self.client.create("/a/secret", b"", [ACL(1, Id("digest", "u:x"))])
        error = await self.assertFailure(read_tree(self.client), NoAuthError)
        self.assertEqual(error.path, "/a/secret")  # type: ignore[attr-defined]

    async def test_requests_under_way_are_bounded(self) -> None:
        """There are never more requests under way than the limit."""
        await self.put(wide(1200))
        under_way = most = 0

        def count(name: str, call: Any, *args: Any) -> Deferred[Any]:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)

            def answered(answer: Any) -> Any:
                nonlocal under_way
                under_way -= 1
                return answer

            answer: Deferred[Any] = call().addBoth(answered)
            return answer

        client: Any = Intercepted(self.client, count)
        await read_tree(client)
        self.assertEqual(most, BATCHES)
        await make_import_plan(client, wide(1200), acl=OPEN_ACL_UNSAFE)
        self.assertEqual(most, LIMIT)

    async def test_nodes_that_are_deleted_meanwhile_are_left_out(self) -> None:
        """Nodes deleted during the read are left out, however far it is."""
        await self.put(TREE)
        other = await self.connect()

        def meddle(name: str, call: Any, *args: Any) -> Deferred[Any]:
            async def answer() -> Any:
                if "get /a/c/d" in asked(name, *args):
                    await other.delete("/a/c/d")
                elif "get_children /a" in asked(name, *args):
                    await other.set("/b", b"{}")
                return await call()

            return Deferred.fromCoroutine(answer())

        client: Any = Intercepted(self.client, meddle)
        stored = await read_tree(client, "/a")
        self.assertEqual(sorted(stored.children["c"].children), [])

    async def test_large_nodes_are_read_one_by_one(self) -> None:
        """Nodes whose data exceed one reply are read one by one."""
        tree = TreeNode({}, {f"n{i}": TreeNode({"string_value": "x" * 500_000}) for i in range(12)})
        tree.children["small"] = TreeNode({"x": 1})
        await self.put(tree)
        self.assertEqual(await self.tree(), tree)

    async def test_reading_can_be_cancelled(self) -> None:
        """Replies that come after the cancellation are ignored."""
        await self.put(wide(200))
        reading = read_tree(self.client)
        reading.cancel()
        await self.assertFailure(reading, Exception)
        await self.client.sync("/")  # replies to cancelled reads do no harm


class ImportPlanTests(ServerTestCase):
    """What is read for an import, and found out."""

    async def requests(self, tree: TreeNode, **options: Any) -> list[str]:
        """What is asked of the server for a plan."""
        seen: list[str] = []

        def note(name: str, call: Any, *args: Any) -> Any:
            seen.extend(asked(name, *args))
            return call()

        client: Any = Intercepted(self.client, note)
        options = {"acl": OPEN_ACL_UNSAFE, **options}
        await make_import_plan(client, tree, "/", **options)
        return sorted(seen)

    async def test_no_more_is_read_than_needed(self) -> None:
        """Nodes outside the tree are not read, nor nodes below those that do not exist."""
        await self.put("/a\n  /n\n    /below\n  /o\n/other\n  /x\n")
        tree = parse_tree("/a\n  /n\n  /new\n    /newer\n")
        common = ["get /", "get /a", "get /a/n", "get_acl /a", "get_acl /a/n"]
        self.assertEqual(
            await self.requests(tree, trim=False),
            sorted([*common, "get_children /", "get_children /a"]),
        )
        self.assertEqual(
            await self.requests(tree, trim=None),
            sorted([*common, "get_children /", "get_children /a", "get_children /a/n"]),
        )
        self.assertEqual(
            await self.requests(tree, trim=True),
            sorted(
                [
                    *(*common, "get_children /", "get_children /a", "get_children /a/n"),
                    *("exists /a/n/below", "exists /a/o"),
                ]
            ),
        )

    async def test_importing_below_a_missing_node_fails(self) -> None:
        """The node must exist."""
        plan = make_import_plan(self.client, TREE, "/nowhere", acl=OPEN_ACL_UNSAFE)
        error = await self.assertFailure(plan, NoNodeError)
        self.assertEqual(error.path, "/nowhere")  # type: ignore[attr-defined]

    async def test_bug_5_acl_over_another(self) -> None:
        """Importing over a node with another ACL changes it, at the version that was read."""
        await self.put("/a\n", acl=OPEN_ACL_UNSAFE)
        await self.client.set_acl(
            "/a", [ACL(31, Id("world", "anyone")), ACL(1, Id("ip", "127.0.0.1"))]
        )
        plan = await make_import_plan(self.client, parse_tree("/a\n"), acl=READ_ACL_UNSAFE)
        (change,) = plan.writes
        assert isinstance(change, SetACL)
        self.assertEqual(change.aversion, 1)
        await self.put("/a\n", acl=READ_ACL_UNSAFE)
        self.assertEqual((await self.client.get_acl("/a"))[0], list(READ_ACL_UNSAFE))


class DeletePlanTests(ServerTestCase):
    """What is read for a deletion."""

    async def test_children_are_deleted_first(self) -> None:
        """Children come before their parents."""
        await self.put("/a\n  /b\n    /c\n  /d\n")
        plan = await make_delete_plan(self.client, "/a")
        paths = [change.path for change in plan.writes if isinstance(change, Delete)]
        self.assertEqual(paths, ["/a/b/c", "/a/b", "/a/d", "/a"])

    async def test_deleting_the_root_is_refused(self) -> None:
        """The root is refused before anything is read."""
        await self.assertFailure(make_delete_plan(self.client, "/"), InvalidPathError)


class WalkTests(ServerTestCase):
    """Walking."""

    async def walk(self, *args: Any, **options: Any) -> list[str]:
        """The paths of a walk."""
        return [path async for path, _ in walk(self.client, *args, **options)]

    async def test_parents_come_first_and_names_in_order(self) -> None:
        """Parents come before children, names in order, from anywhere."""
        await self.put(TREE)
        everything = await self.walk()
        self.assertEqual(everything[:5], ["/", "/a", "/a/c", "/a/c/d", "/b"])
        self.assertEqual(await self.walk("/a/c"), ["/a/c", "/a/c/d"])
        self.assertEqual(await self.walk("/nowhere"), [])

    async def test_bug_11_options_below_the_first_level(self) -> None:
        """Ephemeral nodes are left out at every level, and names can be taken at every level."""
        await self.put("/a\n  /b\n    /c\n    /d\n")
        await self.client.create("/a/b/e", ephemeral=True)
        self.assertEqual(await self.walk("/a", ephemeral=False), ["/a", "/a/b", "/a/b/c", "/a/b/d"])
        seen = []
        async for path, names in walk(self.client, "/a"):
            seen.append(path)
            if path == "/a/b":
                names.remove("c")
        self.assertEqual(seen, ["/a", "/a/b", "/a/b/d", "/a/b/e"])

    async def test_nodes_deleted_on_the_way_are_skipped(self) -> None:
        """Nodes that are deleted before their turn are left out."""
        await self.put("/a\n  /b\n    /c\n  /d\n")
        seen = []
        async for path, _ in walk(self.client, "/a"):
            seen.append(path)
            if path == "/a":
                await self.client.delete("/a/b/c")
                await self.client.delete("/a/b")
        self.assertEqual(seen, ["/a", "/a/d"])

    async def test_nodes_created_on_the_way_are_visited(self) -> None:
        """A node that is created below the present one is visited."""
        await self.put("/a\n  /b\n")
        seen = []
        async for path, _ in walk(self.client, "/a"):
            seen.append(path)
            if path == "/a":
                await self.client.create("/a/b/new")
        self.assertEqual(seen, ["/a", "/a/b", "/a/b/new"])
        with self.assertRaises(NodeExistsError):
            await self.client.create("/a/b/new")


class EmbeddedReadTests(ServerTestCase):
    """What takes a server of our own to see."""

    async def test_the_whole_tree_is_read(self) -> None:
        """Data, versions and all nodes below are read; of the server's own nodes only the names."""
        await self.put(TREE)
        stored = await read_tree(self.client)
        self.assertEqual(stored.children.pop("zookeeper").children, {})
        self.assertEqual(stored.to_tree(), TREE)
        await self.client.set("/a/c/d", b"x")
        self.assertEqual((await read_tree(self.client, "/a/c/d")).version, 1)

    async def test_levels_are_read_together(self) -> None:
        """Nodes of one level are read together, never one after the other."""
        await self.put(wide(400))
        waiting: list[tuple[Deferred[Any], Any]] = []
        rounds = most = reads = requests = 0

        def hold(name: str, call: Any, *args: Any) -> Deferred[Any]:
            nonlocal reads, requests
            requests += 1
            reads += len(asked(name, *args))
            answer: Deferred[Any] = Deferred()
            waiting.append((answer, call))
            return answer

        reading = read_tree(Intercepted(self.client, hold), "/")  # type: ignore[arg-type]
        while not reading.called:
            rounds += 1
            most = max(most, len(waiting))
            batch = waiting[:]
            waiting.clear()
            for answer, call in batch:
                answer.callback(await call())
        self.assertEqual(len((await reading).children), 5)
        self.assertLessEqual(rounds, 5)  # root, its children's names, nodes, names, nodes
        self.assertEqual(reads, 1 + 1 + 4 + 4 + 400)
        self.assertLessEqual(requests, 20)
        self.assertLessEqual(most, LIMIT)

    async def test_a_lost_connection_delays_reading(self) -> None:
        """A connection that breaks meanwhile costs time only."""
        await self.put(wide(1000))
        drops = 0

        def drop(name: str, call: Any, *args: Any) -> Deferred[Any]:
            nonlocal drops
            reads = asked(name, *args)
            if "get /s3" in reads or "get /s4/n50" in reads or "get /s9/n99" in reads:
                drops += 1
                assert self.client.client_id is not None
                self.zookeeper.drop(self.client.client_id[0])
            answer: Deferred[Any] = call()
            return answer

        client: Any = Intercepted(self.client, drop)
        stored = await read_tree(client)
        self.assertGreater(drops, 2)
        self.assertEqual(sum(len(node.children) for node in stored.children.values()), 1000)

    async def test_old_servers_are_read_node_by_node(self) -> None:
        """A server without multi-read is asked for one node after the other."""
        await self.put(wide(200))
        refused = 0

        def refuse(name: str, call: Any, *args: Any) -> Deferred[Any]:
            nonlocal refused
            if name == "read_all":
                refused += 1
                return fail(UnimplementedError())
            answer: Deferred[Any] = call()
            return answer

        client: Any = Intercepted(self.client, refuse)
        stored = await read_tree(client)
        del stored.children["zookeeper"]
        self.assertEqual(stored.to_tree(), wide(200))
        self.assertEqual(refused, 1)
