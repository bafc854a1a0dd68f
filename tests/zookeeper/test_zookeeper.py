"""Tests of ``zkservice.zookeeper``: the whole of zc.zk's interface, on a server."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor  # noqa: TID251
from twisted.internet.task import deferLater
from typing_extensions import override

from tests.tree.test_grammar import BAD
from tests.treesync.base import Intercepted, SocketTestCase
from zkservice import zookeeper
from zkservice.errors import (
    InvalidPathError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    TreeSyntaxError,
)
from zkservice.formats import FORMATS
from zkservice.registry import register
from zkservice.tree import TreeNode, parse_tree
from zkservice.zookeeper import (
    ZK,
    BadPropertyLink,
    FailedConnect,
    LinkLoop,
    ZooKeeper,
    default_connection_string,
)

TREE = """
/fooservice
  threads = 1
  /providers
/lb
  pool -> ../fooservice/providers
"""

METHODS = [
    *("connect", "close", "register", "register_server", "children"),
    *("properties", "get_properties", "resolve", "ln", "import_tree"),
    *("export_tree", "print_tree", "walk", "delete_recursive", "create_recursive"),
    *("is_ephemeral", "exists", "create", "delete", "get"),
    *("set", "get_children"),
]


class ZooKeeperTestCase(SocketTestCase):
    """With a ZooKeeper object."""

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.zk = await self.another()

    async def another(self) -> ZooKeeper:
        """One more, with a session of its own."""
        zk = ZooKeeper(self.zookeeper.connection_string, 1.0)
        self.addCleanup(zk.close)
        return await zk.connect()


class LifeTests(ZooKeeperTestCase):
    """From connect to close."""

    async def test_promised_names_exist(self) -> None:
        """All names that programs rely on are there."""
        self.assertIs(ZK, ZooKeeper)
        for name in zookeeper.__all__:
            self.assertTrue(hasattr(zookeeper, name), name)
        for name in METHODS:
            self.assertTrue(callable(getattr(self.zk, name)), name)

    def test_the_environment_may_have_the_connection_string(self) -> None:
        """The environment may say where ZooKeeper is."""
        self.assertEqual(default_connection_string({}), "127.0.0.1:2181")
        environ = {"ZC_ZK_CONNECTION_STRING": "zk.example.com:1"}
        self.assertEqual(default_connection_string(environ), "zk.example.com:1")

    async def test_recv_timeout_is_the_session_timeout(self) -> None:
        """The session's time-out is known under the name that it had in the C library, too."""
        self.assertEqual(self.zk.recv_timeout(), self.zk.session_timeout)
        self.assertEqual(self.zk.recv_timeout(), 1.0)

    async def test_an_unreachable_server_is_one_clear_error(self) -> None:
        """No ZooKeeper is one clear error, soon."""
        self.zookeeper.refuse = True
        zk = ZooKeeper(self.zookeeper.connection_string)
        error = await self.assertFailure(zk.connect(timeout=0.3), FailedConnect)
        self.assertIn(self.zookeeper.connection_string, str(error))
        self.assertNotIn("\n", str(error))

    async def test_close_ends_registrations(self) -> None:
        """Closing takes what was registered along, and twice is fine."""
        await self.zk.import_tree(TREE)
        await self.zk.register("/fooservice/providers", "1.2.3.4:5")
        await self.zk.close()
        await self.zk.close()
        self.assertEqual(await self.client.get_children("/fooservice/providers"), [])

    async def test_the_end_of_a_block_unregisters(self) -> None:
        """A block connects, and closes with what it registered."""
        async with ZooKeeper(self.zookeeper.connection_string) as zk:
            await zk.register("/p", "1.2.3.4:5")
            self.assertEqual(await self.client.get_children("/p"), ["1.2.3.4:5"])
        self.assertEqual(await self.client.get_children("/p"), [])
        async with ZooKeeper(self.client) as zk:
            await zk.register("/p", "1.2.3.4:5")
        self.assertEqual(await self.client.get_children("/p"), [])

    async def test_client_of_the_callers(self) -> None:
        """A client that was handed in stays open; what was registered is not."""
        await self.zk.import_tree(TREE)
        zk = await ZooKeeper(self.client).connect()
        await zk.register("/fooservice/providers", "1.2.3.4:5")
        self.assertEqual(len(await zk.children("/fooservice/providers")), 1)
        await zk.close()
        self.assertEqual(await self.client.get_children("/fooservice/providers"), [])


class RegisterTests(ZooKeeperTestCase):
    """Registering servers."""

    async def test_an_address_is_an_ephemeral_node_of_the_service(self) -> None:
        """An address is an ephemeral node below the service, which may be behind a link."""
        await self.zk.import_tree(TREE)
        await self.zk.register("/lb/pool", ("192.168.0.42", 8080), weight=3)
        path = "/fooservice/providers/192.168.0.42:8080"
        properties = await self.zk.get_properties(path)
        self.assertEqual(properties, {"pid": os.getpid(), "weight": 3})
        self.assertTrue(await self.zk.is_ephemeral(path))
        self.assertFalse(await self.zk.is_ephemeral("/fooservice"))

    async def test_bug_8_registered_again_at_once(self) -> None:
        """A node left by an earlier process is replaced, and outlives that one's session."""
        await self.zk.import_tree(TREE)
        await self.client.create("/fooservice/providers/1.2.3.4:5", b"old", ephemeral=True)
        await self.zk.register("/fooservice/providers", "1.2.3.4:5")
        await self.client.close()
        children = await self.zk.get_children("/fooservice/providers")
        self.assertEqual(children, ["1.2.3.4:5"])

    async def test_bug_9_deleted_stays_deleted(self) -> None:
        """A server that was deleted does not come back with the next session."""
        await self.zk.import_tree(TREE)
        for path in ("1.2.3.4:5", "1.2.3.4:6"):
            await self.zk.register("/fooservice/providers", path)
        await self.zk.delete("/fooservice/providers/1.2.3.4:5")
        children = await self.zk.children("/fooservice/providers")
        await self.expire()
        await self.returned("1.2.3.4:6", children)
        self.assertEqual(list(children), ["1.2.3.4:6"])
        await self.zk.delete_recursive("/fooservice/providers", force=True)
        await self.expire()
        self.assertIsNone(await self.client.exists("/fooservice/providers"))

    async def test_bug_10_lost_twice(self) -> None:
        """A session lost while the one before is being made up for loses nothing."""
        await self.zk.import_tree(TREE)
        await self.zk.register("/fooservice/providers", "1.2.3.4:5")
        children = await self.zk.children("/fooservice/providers")
        for _ in range(3):
            await self.expire()
        await self.returned("1.2.3.4:5", children)
        stat = await self.client.exists("/fooservice/providers/1.2.3.4:5")
        assert stat is not None and self.zk.client.client_id is not None
        self.assertEqual(stat.ephemeral_owner, self.zk.client.client_id[0])

    async def test_bug_12_pid_address_and_blank_host(self) -> None:
        """A caller's pid is kept, addresses are text, a blank host is all or nothing."""
        await self.zk.import_tree(TREE)
        one = await self.zk.register("/fooservice/providers", "1.2.3.4:5", pid="mine")
        self.assertEqual((await self.zk.get_properties(one.path))["pid"], "mine")
        many = await self.zk.register("/fooservice/providers", ":8080")
        names = await self.zk.get_children("/fooservice/providers")
        self.assertEqual(len(names), 1 + len(many.paths))
        self.assertNotIn(":8080", names)

    async def test_ephemeral_has_the_registrations_by_path(self) -> None:
        """Registrations are found by the paths of their nodes; the mapping is read-only."""
        await self.zk.import_tree(TREE)
        one = await self.zk.register("/lb/pool", "1.2.3.4:5", weight=3)
        self.assertEqual(dict(self.zk.ephemeral), {"/fooservice/providers/1.2.3.4:5": one})
        self.assertEqual(self.zk.ephemeral[one.path].properties["weight"], 3)
        await self.zk.delete(one.path)
        self.assertEqual(dict(self.zk.ephemeral), {})
        one = await self.zk.register("/lb/pool", "1.2.3.4:5")
        await one.unregister()
        self.assertEqual(dict(self.zk.ephemeral), {})

    async def test_an_address_is_registered_once(self) -> None:
        """An address is registered once, so that deleting it is deleting it for good."""
        await self.zk.import_tree(TREE)
        one = await self.zk.register("/lb/pool", "1.2.3.4:5", weight=1)
        again = self.zk.register("/fooservice/providers", ("1.2.3.4", 5), weight=2)
        error: Any = await self.assertFailure(again, NodeExistsError)
        self.assertEqual(
            str(error), f"{one.path}: registered here already: update that registration"
        )
        self.assertEqual((await self.zk.get_properties(one.path))["weight"], 1)
        await one.unregister()
        two = await self.zk.register("/lb/pool", "1.2.3.4:5", weight=2)
        self.assertEqual((await self.zk.get_properties(two.path))["weight"], 2)
        await self.zk.delete(two.path)
        await self.zk.register("/lb/pool", "1.2.3.4:6")
        self.assertEqual(await self.zk.get_children("/fooservice/providers"), ["1.2.3.4:6"])
        both = [self.zk.register("/lb/pool", "1.2.3.4:7") for _ in range(2)]
        await self.assertFailure(both[1], NodeExistsError)
        self.assertIs(self.zk.ephemeral["/fooservice/providers/1.2.3.4:7"], await both[0])

    async def test_members_are_found_in_every_format(self) -> None:
        """The instances of a service are found through links, whatever their format."""
        await self.zk.import_tree(TREE)
        path = "/fooservice/providers"
        for number, name in enumerate(FORMATS, 1):
            one = register(self.zk.client, path, f"10.0.0.{number}:80", format=name)
            await one.when_registered()
        await self.zk.create(f"{path}/leader", b"10.0.0.1")
        members = await self.zk.members("/lb/pool")
        self.assertEqual(
            sorted((member.address, member.format) for member in members),
            [(f"10.0.0.{number}:80", name) for number, name in enumerate(FORMATS, 1)],
        )
        with self.assertRaises(NoNodeError):
            await self.zk.members("/nowhere")

    async def test_data_that_are_set_survive_an_expiry(self) -> None:
        """What is set on a registered node is there in a new session, too."""
        await self.zk.import_tree(TREE)
        acl = zookeeper.OPEN_ACL_UNSAFE
        one = await self.zk.register("/fooservice/providers", "1.2.3.4:5", acl)
        await self.zk.set(one.path, b'{"new":1}')
        await one.when_registered()
        children = await self.zk.children("/fooservice/providers")
        await self.expire()
        await self.returned("1.2.3.4:5", children)
        self.assertEqual(await self.zk.get_properties(one.path), {"new": 1})

    async def expire(self) -> None:
        """End the session, and wait for the next."""
        assert self.zk.client.client_id is not None
        old = self.zk.client.client_id[0]
        self.zookeeper.expire(old)
        for _ in range(20_000):
            await deferLater(reactor, 0.005)
            if self.zk.client.client_id and self.zk.client.client_id[0] != old:
                return
        self.fail("no new session")

    async def returned(self, name: str, children: Any) -> None:
        """Wait until a name is there."""
        for _ in range(20_000):
            names = await self.client.get_children("/fooservice/providers")
            if name in names and name in children:
                return
            await deferLater(reactor, 0.005)
        self.fail("it did not return")


class LinkTests(ZooKeeperTestCase):
    """Links."""

    async def test_resolve_follows_links(self) -> None:
        """Paths lead through symbolic links."""
        await self.zk.import_tree("/a\n  /b\n    l -> c\n    l2 -> ../c\n    /c\n  /c\n")
        self.assertEqual(await self.zk.resolve("/a/b/l"), "/a/b/c")
        self.assertEqual(await self.zk.resolve("/a/b/l2"), "/a/c")
        error = await self.assertFailure(self.zk.resolve("/a/x/y"), NoNodeError)
        self.assertEqual(error.path, "/a/x/y")  # type: ignore[attr-defined]

    async def test_a_loop_is_imported_with_a_warning(self) -> None:
        """A tree whose links form a loop is imported with a warning, and walked and exported."""
        text = "/a\n  p => . q\n  q => . p\n  l -> m\n  m -> l\n"
        dry = await self.zk.import_tree(text, dry_run=True)
        report = await self.zk.import_tree(text)
        self.assertIn("warning: /a l ->: the links form a loop: /a/l -> /a/m -> /a/l", dry.lines)
        self.assertEqual(len(report.lines), 4)
        self.assertEqual(await self.zk.export_tree(), text)
        self.assertEqual(await self.zk.print_tree(), text)
        self.assertEqual([path async for path in self.zk.walk("/a")], ["/a"])
        self.assertEqual((await self.zk.import_tree(text)).plan.writes, ())
        await self.assertFailure(self.zk.resolve("/a/l"), LinkLoop)
        properties = await self.zk.properties("/a")
        with self.assertRaises(BadPropertyLink):
            properties["p"]

    async def test_links_in_a_circle_are_an_error(self) -> None:
        """`resolve` fails with LinkLoop."""
        await self.client.create("/a", b'{"l ->":"m","m ->":"l"}')
        await self.assertFailure(self.zk.resolve("/a/l"), LinkLoop)

    async def test_bug_14_paths_are_normal(self) -> None:
        """Dots, slashes at the end and relative paths have a meaning."""
        await self.zk.import_tree("/a\n  /b\n")
        for path, real in (("/a/..", "/"), ("/a/", "/a"), ("//a//b", "/a/b"), ("a", "/a")):
            self.assertEqual(await self.zk.resolve(path), real)
            self.assertEqual(await self.zk.get_properties(path), {})
            self.assertFalse(await self.zk.is_ephemeral(path))
        methods: list[Any] = [self.zk.resolve, self.zk.get_properties, self.zk.is_ephemeral]
        for method in methods:
            await self.assertFailure(method("/.."), InvalidPathError)

    async def test_ln_adds_a_property_to_the_parent(self) -> None:
        """A link is a property of its parent, which may be behind a link itself."""
        await self.zk.import_tree("/a\n  x = 1\n  /b\n/c\n")
        await self.zk.ln("/c", "/a/l")
        await self.zk.ln("../c", "/a/m")
        await self.zk.ln("/a", "/top")
        await self.zk.ln("/c", "/top/n")
        self.assertEqual(
            await self.zk.get_properties("/a"),
            {"x": 1, "l ->": "/c", "m ->": "../c", "n ->": "/c"},
        )
        self.assertEqual(await self.zk.resolve("/top/m"), "/c")

    async def test_bug_12_ln_to_a_slash(self) -> None:
        """Of target and source, the one that ends with a slash gets the other one's name."""
        await self.zk.import_tree("/svc\n/t\n  /l\n    /d\n")
        self.assertEqual(await self.zk.ln("/t/l", "/svc/"), "/svc/l")
        self.assertEqual(await self.zk.get_properties("/svc"), {"l ->": "/t/l"})
        self.assertEqual(await self.zk.ln("../t/l/d", "/svc/l/../"), "/svc/d")
        self.assertEqual(await self.zk.resolve("/svc/d"), "/t/l/d")
        self.assertEqual(await self.zk.ln("/t/l", "/"), "/l")
        self.assertEqual(await self.zk.ln("/t/", "/l"), "/l")
        self.assertEqual(await self.zk.get_properties("/"), {"l ->": "/t/l"})
        for target, source in (
            ("/t/", "/svc/"),
            ("..", "/svc/"),
            ("/t", "/"),
            ("", "/svc/x"),
            ("", "/svc/"),
        ):
            await self.assertFailure(self.zk.ln(target, source), InvalidPathError)
        await self.assertFailure(self.zk.ln("/t", "/nowhere/x"), NoNodeError)


class TreeTests(ZooKeeperTestCase):
    """Trees in and out."""

    async def test_import_and_export(self) -> None:
        """What is imported is exported, in order, under another name if wanted."""
        await self.zk.import_tree(TREE)
        self.assertEqual(await self.zk.export_tree(), TREE.lstrip())
        self.assertEqual(await self.zk.export_tree("/lb"), TREE[TREE.index("/lb") :])
        self.assertEqual(
            await self.zk.export_tree("/fooservice", name="bar"),
            "/bar\n  threads = 1\n  /providers\n",
        )
        await self.assertFailure(self.zk.export_tree("/nowhere"), NoNodeError)

    async def test_root_with_a_name(self) -> None:
        """The root has a line when it has a name; without one only for its properties."""
        await self.zk.import_tree("/\n  a = 1\n/x\n")
        self.assertEqual(await self.zk.export_tree(), "/\n  a = 1\n/x\n")
        self.assertEqual(await self.zk.export_tree(name="all"), "/all\n  a = 1\n  /x\n")

    async def test_ephemeral_nodes_are_exported_on_request(self) -> None:
        """They are left out by default, and always printed."""
        await self.zk.import_tree(TREE)
        await self.zk.register("/fooservice/providers", "1.2.3.4:5", pid=1)
        self.assertNotIn("pid", await self.zk.export_tree())
        self.assertIn("    /1.2.3.4:5\n      pid = 1\n", await self.zk.print_tree())
        self.assertIn("pid", await self.zk.export_tree("/fooservice", ephemeral=True))

    async def test_trim_reports_deletes_or_ignores(self) -> None:
        """Nodes that the tree does not have are reported, deleted, or ignored."""
        await self.zk.import_tree("/a\n  /b\n    /c\n/top\n")
        report = await self.zk.import_tree("/a\n")
        self.assertEqual(list(report), ["extra path not trimmed: /a/b"])
        self.assertEqual(str(await self.zk.import_tree("/a\n", trim=False)), "")
        report = await self.zk.import_tree("/a\n", trim=True, dry_run=True)
        self.assertEqual(str(report), "would delete /a/b/c.\nwould delete /a/b.")
        self.assertIsNone(report.outcome)
        report = await self.zk.import_tree("/a\n", trim=True)
        self.assertEqual(str(report), "")
        self.assertEqual(await self.zk.export_tree(), "/a\n/top\n")

    async def test_bad_trees_change_nothing(self) -> None:
        """A mistake anywhere in a text means that nothing of it is imported."""
        before = self.zxid
        bad = [text for text, *_ in BAD]
        for text in bad + [f"/good\n{text}" for text in bad if not text.startswith(" ")]:
            await self.assertFailure(self.zk.import_tree(text), TreeSyntaxError)
        self.assertEqual(self.zxid, before)

    async def test_other_types_are_refused(self) -> None:
        """Only text and nodes are accepted, not bytes."""
        with self.assertRaises(TypeError) as caught:
            await self.zk.import_tree(b"/a\n")  # type: ignore[arg-type]
        self.assertIn("a tree is text, not bytes", str(caught.exception))

    async def test_invalid_names_are_refused(self) -> None:
        """Nodes that a program has made are checked before anything is changed, too."""
        before = self.zxid
        for name in ("a/b", "", "..", "a\0"):
            tree = TreeNode({}, {"good": TreeNode({}, {name: TreeNode()})})
            error = await self.assertFailure(self.zk.import_tree(tree), InvalidPathError)
            self.assertIn(repr(f"/good/{name}"), str(error))
        self.assertEqual(self.zxid, before)

    async def test_an_atomic_import_is_one_transaction(self) -> None:
        """A tree can be imported in one transaction."""
        before = self.zxid
        await self.zk.import_tree(TREE, atomic=True)
        self.assertEqual(self.zxid, before + 1)

    async def test_delete_recursive_keeps_ephemeral_nodes(self) -> None:
        """Ephemeral nodes and those above them stay, unless forced."""
        await self.zk.import_tree("/a\n  /b\n  /c\n")
        await self.client.create("/a/c/e", ephemeral=True)
        report = await self.zk.delete_recursive("/a", dry_run=True)
        self.assertEqual(
            list(report),
            [
                "would delete /a/b.",
                "wouldn't delete /a/c/e because it's ephemeral.",
                "/a/c not deleted due to ephemeral descendent.",
                "/a not deleted due to ephemeral descendent.",
            ],
        )
        report = await self.zk.delete_recursive("/a")
        self.assertEqual(next(iter(report)), "Not deleting /a/c/e because it's ephemeral.")
        self.assertEqual(await self.tree(), parse_tree("/a\n  /c\n    /e\n"))
        report = await self.zk.delete_recursive("/a/c/e", ignore_if_ephemeral=True)
        self.assertEqual(list(report), [])
        await self.zk.delete_recursive("/a", force=True)
        self.assertIsNone(await self.zk.exists("/a"))
        await self.assertFailure(self.zk.delete_recursive("/a"), NoNodeError)

    async def test_bug_17_delete_while_others_create(self) -> None:
        """Nodes that appear in what is being deleted are deleted, too."""
        await self.zk.import_tree("/a\n  /b\n")
        times = 0

        def meddle(name: str, call: Any, *args: Any) -> Any:
            nonlocal times
            if name == "delete" or name == "transaction":
                times += 1
                if times < 4:
                    self.client.create(f"/a/b/new{times}").addErrback(lambda _: None)
            return call()

        self.addCleanup(self.zk.client.close)
        self.zk.client = Intercepted(self.client, meddle)  # type: ignore[assignment]
        await self.zk.delete_recursive("/a")
        self.assertGreaterEqual(times, 4)
        self.assertIsNone(await self.client.exists("/a"))

    async def test_walk_yields_paths_and_names(self) -> None:
        """Paths, or paths and names to prune."""
        await self.zk.import_tree("/a\n  /b\n    /c\n  /d\n")
        self.assertEqual(
            [path async for path in self.zk.walk("/a")], ["/a", "/a/b", "/a/b/c", "/a/d"]
        )
        seen = []
        async for path, names in self.zk.walk("/a", children=True):
            seen.append(path)
            if "b" in names:
                names.remove("b")
        self.assertEqual(seen, ["/a", "/a/d"])

    async def test_create_recursive_creates_ancestors(self) -> None:
        """Nodes are created down to a path, whose data are set in any case."""
        await self.zk.create_recursive("/a/b/c", b"x")
        await self.zk.create_recursive("/a/b/c", b"y")
        self.assertEqual((await self.zk.get("/a/b/c"))[0], b"y")

    async def test_node_methods_are_those_of_the_client(self) -> None:
        """The methods that are passed through behave like the client's."""
        self.assertEqual(await self.zk.create("/n", b"x"), "/n")
        await self.assertFailure(self.zk.create("/n"), NodeExistsError)
        await self.zk.set("/n", b"y", 0)
        data, stat = await self.zk.get("/n")
        self.assertEqual((data, stat.version), (b"y", 1))
        self.assertIn("n", await self.zk.get_children("/"))
        await self.zk.delete("/n")
        self.assertIsNone(await self.zk.exists("/n"))
        await self.zk.create("/r", b"", zookeeper.READ_ACL_UNSAFE)
        await self.assertFailure(self.zk.set("/r", b""), NoAuthError)
