"""Tests of ``zkservice.registry.live_views``: children and properties that keep up."""

from __future__ import annotations

import gc
import operator
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, fail, gatherResults

from tests.treesync.base import ServerTestCase
from zkservice.errors import (
    BadPropertyLinkError,
    CancelWatch,
    LinkLoopError,
    NoNodeError,
    TreeValueError,
)
from zkservice.registry.live_views import (
    Children,
    Properties,
    live_children,
    live_data,
    live_properties,
)
from zkservice.wire.session import State

TREE = """
/a
  l -> /b
  x = 1
  /c
/b
  y = 'two'
  /d
  /e
"""


class LiveTestCase(ServerTestCase):
    """Helpers that make views and wait for them."""

    async def children(self, path: str) -> Children:
        """A view of children."""
        return await live_children(self.client, path, reactor=self.reactor)

    async def properties(self, path: str, **options: Any) -> Properties:
        """A view of properties."""
        return await live_properties(self.client, path, reactor=self.reactor, **options)

    def expire(self) -> None:
        """End the client's session."""
        assert self.client.client_id is not None
        self.zookeeper.expire(self.client.client_id[0])

    def drop(self) -> None:
        """Break the client's connection."""
        assert self.client.client_id is not None
        self.zookeeper.drop(self.client.client_id[0])

    @property
    def watches(self) -> int:
        """The number of the client's watches."""
        return self.client.statistics().watches


class ChildrenTests(LiveTestCase):
    """Names of children."""

    async def test_names_are_current_and_callbacks_called(self) -> None:
        """Names are sorted; callbacks are called with each change."""
        await self.put(TREE)
        view = await self.children("/b")
        seen: list[list[str]] = []
        self.assertIs(view(lambda view: seen.append(list(view))), view)
        await self.client.create("/b/c")
        await self.until(lambda: len(seen) == 2)
        await self.client.delete("/b/d")
        await self.until(lambda: len(seen) == 3)
        self.assertEqual(seen, [["d", "e"], ["c", "d", "e"], ["c", "e"]])
        self.assertEqual((list(view), len(view), "c" in view), (["c", "e"], 2, True))
        self.assertEqual((view.path, view.real_path), ("/b", "/b"))

    async def test_a_missing_node_is_an_error(self) -> None:
        """The view fails, and leaves no watches."""
        with self.assertRaises(NoNodeError) as caught:
            await self.children("/n/m")
        self.assertEqual(caught.exception.path, "/n/m")
        self.assertEqual(self.watches, 0)

    async def test_links_in_a_circle_are_an_error(self) -> None:
        """A path whose links form a loop fails."""
        await self.client.create("/a", b'{"l ->":"l"}')
        with self.assertRaises(LinkLoopError):
            await self.children("/a/l")

    async def test_a_view_decorates_a_function(self) -> None:
        """The function is called with it at once."""
        await self.put(TREE)
        seen = []

        @await self.children("/b")
        def names(children: Children) -> None:
            seen.append(list(children))

        self.assertEqual(seen, [["d", "e"]])
        self.assertIsInstance(names, Children)

    async def test_a_path_may_lead_through_a_link(self) -> None:
        """The view is of the real node's children."""
        await self.put(TREE)
        view = await self.children("/a/l")
        self.assertEqual((list(view), view.real_path), (["d", "e"], "/b"))
        await self.client.create("/b/f")
        await self.until(lambda: "f" in view)

    async def test_a_view_moves_with_a_link(self) -> None:
        """When a link is changed, the view is of the node that it leads to now."""
        await self.put(TREE)
        view = await self.children("/a/l")
        seen: list[Any] = []
        view(lambda view: seen.append((view.real_path, list(view))))
        await self.client.set("/a", b'{"l ->":"/a"}')
        await self.until(lambda: len(seen) == 2)
        await self.client.create("/a/l")
        await self.until(lambda: len(seen) == 3)
        self.assertEqual(seen, [("/b", ["d", "e"]), ("/a", ["c"]), ("/a/l", [])])

    async def test_a_link_in_place_of_a_node_is_followed(self) -> None:
        """When a node is deleted and a link is in its place, the view follows it."""
        await self.put(TREE)
        view = await self.children("/a/c")
        await self.client.set("/a", b'{"c ->":"../b"}')
        self.assertEqual(view.real_path, "/a/c")
        await self.client.delete("/a/c")
        await self.until(lambda: list(view) == ["d", "e"])
        self.assertEqual((view.path, view.real_path), ("/a/c", "/b"))

    async def test_bug_13_created_again(self) -> None:
        """A deletion calls back without arguments; a node created again fills the view."""
        await self.put(TREE)
        view = await self.children("/b/d")
        seen: list[Any] = []
        view(lambda *args: seen.append([list(view) for view in args]))
        await self.client.delete("/b/d")
        await self.until(lambda: view.deleted)
        self.assertEqual((list(view), repr(view)), ([], "DELETED: Children(/b/d)"))
        await self.client.create("/b/d")
        await self.until(lambda: not view.deleted)
        await self.client.create("/b/d/new")
        await self.until(lambda: list(view) == ["new"])
        self.assertEqual(seen, [[[]], [], [[]], [["new"]]])
        self.assertEqual(repr(view), "Children(/b/d)")

    async def test_parents_may_be_created_again(self) -> None:
        """A view is filled again however much of the path was deleted."""
        await self.put(TREE)
        view = await self.children("/b/d")
        for path in ("/b/d", "/b/e", "/b"):
            await self.client.delete(path)
        await self.until(lambda: view.deleted)
        for path in ("/b", "/b/d", "/b/d/x"):
            await self.client.create(path)
            await self.sleep(0.01)
        await self.until(lambda: list(view) == ["x"])


class NodeDataTests(LiveTestCase):
    """A node's bytes."""

    async def test_each_write_calls_back(self) -> None:
        """Each write is a change, even one of the same bytes; the view has data and Stat."""
        await self.put(TREE)
        await self.client.set("/b/d", b"one")
        view = await live_data(self.client, "/b/d", reactor=self.reactor)
        seen: list[bytes] = []
        view(lambda view: seen.append(view.data))
        for data in (b"one", b"\xff", b""):
            stat = await self.client.set("/b/d", data)
            while view.stat != stat:
                await view.when_current()
        self.assertEqual(seen, [b"one", b"one", b"\xff", b""])

    async def test_children_are_no_change(self) -> None:
        """A new child changes the Stat of a node, but not its data."""
        await self.put(TREE)
        view = await live_data(self.client, "/b/d", reactor=self.reactor)
        seen: list[bytes] = []
        view(lambda view: seen.append(view.data))
        await self.client.create("/b/d/child")
        await view.when_current()
        self.assertEqual(seen, [b"{}"])

    async def test_deletion_and_a_new_node(self) -> None:
        """While there is no node the data are empty and there is no Stat."""
        await self.put(TREE)
        await self.client.set("/b/d", b"one")
        view = await live_data(self.client, "/b/d", reactor=self.reactor)
        seen: list[Any] = []
        view(lambda *views: seen.append([one.data for one in views]))
        await self.client.delete("/b/d")
        await self.until(lambda: view.deleted)
        self.assertEqual((view.data, view.stat), (b"", None))
        await self.client.create("/b/d", b"two")
        await self.until(lambda: not view.deleted)
        self.assertEqual(seen, [[b"one"], [], [b"two"]])

    async def test_it_outlives_the_session(self) -> None:
        """A write while the session has expired is seen in the next one."""
        await self.put(TREE)
        view = await live_data(self.client, "/b/d", reactor=self.reactor)
        before = self.client.client_id
        self.expire()
        await self.until(lambda: self.client.state is State.CONNECTED)
        await self.until(lambda: self.client.client_id not in (None, before))
        await self.client.set("/b/d", b"new")
        await self.until(lambda: view.data == b"new")

    async def test_a_missing_node_is_an_error(self) -> None:
        """The view fails, and leaves no watches."""
        with self.assertRaises(NoNodeError):
            await live_data(self.client, "/n", reactor=self.reactor)
        self.assertEqual(self.watches, 0)

    async def test_the_installed_reactor_is_the_default(self) -> None:
        """All views take the installed reactor if they get none."""
        await self.put(TREE)
        for make in (live_data, live_children, live_properties):
            view: Any = await make(self.client, "/b")
            view.stop()


class CallbackTests(LiveTestCase):
    """Callbacks that fail, cancel, or cannot be called."""

    async def test_first_call_fails(self) -> None:
        """An exception in the first call is raised to the caller, and there is no other call."""
        await self.put(TREE)
        view = await self.children("/b")
        calls: list[Any] = []

        def bad(view: Any) -> None:
            calls.append(view)
            raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, view, bad)
        await self.client.create("/b/c")
        await self.until(lambda: "c" in view)
        self.assertEqual(len(calls), 1)

    async def test_later_call_fails(self) -> None:
        """A later exception is logged, with its traceback, and only ends its own callback."""
        await self.put(TREE)
        view = await self.children("/b")
        good: list[int] = []
        bad: list[int] = []

        def fails(view: Any) -> None:
            bad.append(len(view))
            if len(bad) > 1:
                raise ZeroDivisionError

        view(fails)(lambda view: good.append(len(view)))
        for name in "cf":
            await self.client.create(f"/b/{name}")
            await self.until(partial(operator.contains, view, name))
        self.assertEqual((bad, good), ([2, 3], [2, 3, 4]))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_cancel_watch_ends_the_calls(self) -> None:
        """CancelWatch ends the calls, at once or later."""
        await self.put(TREE)
        view = await self.children("/b")
        calls: list[int] = []

        def once(view: Any) -> None:
            calls.append(len(view))
            raise CancelWatch

        def twice(view: Any) -> None:
            calls.append(-len(view))
            if len(calls) > 2:
                raise CancelWatch

        view(once)(twice)
        for name in "cf":
            await self.client.create(f"/b/{name}")
            await self.until(partial(operator.contains, view, name))
        self.assertEqual(calls, [2, -2, -3])

    async def test_callbacks_may_be_asynchronous(self) -> None:
        """A callback may be a coroutine function or return a Deferred; failures count alike."""
        await self.put(TREE)
        view = await self.children("/b")
        seen: list[list[str]] = []
        ended: list[str] = []

        async def good(view: Any) -> None:
            await self.client.sync("/b")
            seen.append(list(view))

        async def bad(view: Any) -> None:
            ended.append("bad")
            await self.client.get("/nowhere")

        def once(view: Any) -> Deferred[None]:
            ended.append("once")
            return fail(CancelWatch())

        view(good)(bad)(once)
        await self.until(lambda: len(seen) == 1)
        self.assertEqual(len(self.flushLoggedErrors(NoNodeError)), 1)
        await self.client.create("/b/c")
        await self.until(lambda: len(seen) == 2)
        self.assertIn("c", seen[1])
        self.assertEqual(sorted(ended), ["bad", "once"])

    async def test_bug_13_errors_without_arguments(self) -> None:
        """A TypeError inside a callback is not taken for a missing argument."""
        await self.put(TREE)
        view = await self.children("/b/d")
        view(lambda view: None)  # cannot be called without arguments, and is not

        def wrong(*views: Any) -> None:
            if not views:
                raise TypeError("a mistake")

        view(wrong)
        await self.client.delete("/b/d")
        await self.until(lambda: view.deleted)
        (failure,) = self.flushLoggedErrors(TypeError)
        self.assertEqual(failure.getErrorMessage(), "a mistake")


class PropertiesTests(LiveTestCase):
    """Properties."""

    async def test_properties_are_a_mapping(self) -> None:
        """Properties are a mapping, and callbacks receive changes."""
        await self.put(TREE)
        view = await self.properties("/b")
        seen: list[Any] = []
        view(lambda view: seen.append(dict(view)))
        await self.client.set("/b", b'{"y":2,"z":[]}')
        await self.until(lambda: len(seen) == 2)
        self.assertEqual(seen, [{"y": "two"}, {"y": 2, "z": []}])
        self.assertEqual((view["y"], len(view), "q" in view), (2, 2, False))
        self.assertEqual(view.get("q"), None)
        self.assertRaises(KeyError, lambda: view["q"])
        self.assertEqual(sorted(view.items()), [("y", 2), ("z", [])])
        self.assertEqual(view, {"y": 2, "z": []})

    async def test_one_callback_per_change(self) -> None:
        """Data that decode to the same properties are not a change."""
        await self.put(TREE)
        view = await self.properties("/b")
        seen: list[Any] = []
        view(lambda view: seen.append(dict(view)))
        await self.client.set("/b", b'{ "y" : "two" }')
        await self.client.set("/b", b'{"y":"three"}')
        await self.until(lambda: len(seen) == 2)
        self.assertEqual(seen, [{"y": "two"}, {"y": "three"}])

    async def test_invalid_json_is_a_string_value(self) -> None:
        """Data that only look like JSON are a string, with a warning in the log."""
        await self.client.create("/n", b"{nonsense}")
        view = await self.properties("/n")
        self.assertEqual(dict(view), {"string_value": "{nonsense}"})

    async def test_update_and_set(self) -> None:
        """`update` changes the named properties, `set` replaces all; the view is current."""
        await self.put(TREE)
        view = await self.properties("/b")
        seen: list[Any] = []
        view(lambda view: seen.append(dict(view)))
        await view.update({"a": 1, "b": 1}, b=2)
        self.assertEqual(dict(view), {"y": "two", "a": 1, "b": 2})
        await view.set({"a": 5}, c=3)
        self.assertEqual(dict(view), {"a": 5, "c": 3})
        view["d"] = None
        await self.until(lambda: "d" in view)
        self.assertEqual(len(seen), 4)
        self.assertEqual((await self.client.get("/b"))[0], b'{"a":5,"c":3,"d":null}')

    async def test_bug_6_no_update_is_lost(self) -> None:
        """Updates of several clients at the same time all take place."""
        await self.put("/n\n")
        other = await live_properties(await self.connect(), "/n", reactor=self.reactor)
        view = await self.properties("/n")
        await gatherResults(
            [(view, other)[i % 2].update({f"k{i}": i}) for i in range(20)], consumeErrors=True
        )
        await self.until(lambda: len(view) == len(other) == 20)
        self.assertEqual(dict(view), {f"k{i}": i for i in range(20)})

    async def test_bug_7_update_through_a_symlink(self) -> None:
        """Changes go to the node that the path leads to."""
        await self.put(TREE)
        view = await self.properties("/a/l")
        await view.update(z=1)
        self.assertEqual((await self.client.get("/b"))[0], b'{"y":"two","z":1}')

    async def test_update_of_what_moved(self) -> None:
        """A change is made to the node to which the path leads now."""
        await self.put(TREE)
        view = await self.properties("/a/c")
        await self.client.set("/a", b'{"c ->":"/b"}')
        deleting = self.client.delete("/a/c")
        await view.update(z=1)
        await deleting
        self.assertEqual((await self.client.get("/b"))[0], b'{"y":"two","z":1}')

    async def test_refused_changes_change_nothing(self) -> None:
        """Values that JSON cannot hold are refused."""
        await self.put(TREE)
        view = await self.properties("/b")
        with self.assertRaises(TreeValueError):
            await view.update(bad=object())
        with self.assertRaises(ValueError) as caught:
            await view.update({"p =>": "/nowhere q"})
        self.assertEqual(caught.exception.args[:3], ("Bad property link", "p =>", "/nowhere q"))
        self.assertIsInstance(caught.exception.args[3], NoNodeError)
        self.assertEqual(((await self.client.get("/b"))[1].version, dict(view)), (0, {"y": "two"}))
        view["bad"] = object()
        await self.until(lambda: self.flushLoggedErrors(TreeValueError))

    async def test_a_deleted_node_cannot_be_changed(self) -> None:
        """The change fails with NoNodeError."""
        await self.put(TREE)
        view = await self.properties("/b/d")
        await self.client.delete("/b/d")
        with self.assertRaises(NoNodeError):
            await view.update(x=1)
        self.assertTrue(view.deleted)
        with self.assertRaises(NoNodeError):
            await view.set(x=1)

    async def test_without_watching_there_are_no_callbacks(self) -> None:
        """There are no watches either, but changes can be made."""
        await self.put(TREE)
        view = await self.properties("/a/l", watch=False)
        self.assertEqual((dict(view), self.watches), ({"y": "two"}, 0))
        error = self.assertRaises(TypeError, view, lambda view: None)
        self.assertEqual(str(error), "Can't set callbacks without watching.")
        await view.update(z=1)
        self.assertEqual(dict(view), {"y": "two", "z": 1})
        await self.client.set("/b", b"{}")
        self.assertEqual(len(view), 2)


LINKS = """
/cms
  threads => /foo threads
  color => ../foo
  both => /foo threads
  both = 'mine'
/foo
  threads = 3
  color => /far/b y
/a
  b -> /b
/far
  b -> /a/b
/b
  y = 'red'
"""


class PropertyLinkTests(LiveTestCase):
    """Properties of other nodes."""

    async def test_property_links_are_followed(self) -> None:
        """A link has the value of its target; the link itself can be read, too."""
        await self.put(LINKS)
        view = await self.properties("/cms")
        self.assertEqual(dict(view), {"threads": 3, "color": "red", "both": "mine"})
        self.assertEqual(view["threads =>"], "/foo threads")
        self.assertIn("threads", view)
        self.assertIn("threads =>", view)
        self.assertEqual(view.copy()["color =>"], "../foo")

    async def test_bug_15_both_counted_once(self) -> None:
        """A property and a link with the same name are one name."""
        await self.put(LINKS)
        view = await self.properties("/cms")
        self.assertEqual(sorted(view), ["both", "color", "threads"])
        self.assertEqual(len(view), 3)

    async def test_linked_nodes_are_watched(self) -> None:
        """Changes of linked nodes, of links on the way, and of the symlinks are seen."""
        await self.put(LINKS)
        view = await self.properties("/cms")
        seen: list[Any] = []
        view(lambda view: seen.append((view["threads"], view["color"])))
        await self.client.set("/b", b'{"y":"green"}')
        await self.until(lambda: seen[-1] == (3, "green"))
        await self.client.create("/new", b'{"y":"blue"}')
        await self.client.set("/a", b'{"b ->":"/new"}')
        await self.until(lambda: seen[-1] == (3, "blue"))
        await self.client.set("/foo", b'{"threads":4,"color":"plain"}')
        await self.until(lambda: seen[-1] == (4, "plain"))
        self.assertEqual(len(seen), 4)
        await self.until(lambda: self.watches == 2)  # /cms and /foo: the rest is not needed

    async def test_a_dangling_link_heals(self) -> None:
        """A link that leads nowhere fails when it is read, until its target exists."""
        await self.put("/n\n  x => /gone/y\n")
        view = await self.properties("/n")
        self.assertRaises(BadPropertyLinkError, lambda: view["x"])
        self.assertEqual(list(view), ["x"])
        await self.client.create("/gone")
        await self.client.create("/gone/y", b'{"x":1}')
        await self.until(lambda: view.data and not view._linked["x"].error)
        self.assertEqual(view["x"], 1)

    async def test_a_new_link_may_lead_to_a_new_property(self) -> None:
        """Setting a link checks where it leads, at the node's new properties."""
        await self.put(LINKS)
        view = await self.properties("/cms")
        await view.update({"own": 1, "again =>": ". own"})
        self.assertEqual(view["again"], 1)


class SessionTests(LiveTestCase):
    """Connections that break, and sessions that end."""

    async def test_changes_during_a_lost_connection_are_seen_once(self) -> None:
        """A change without a connection calls back once; without a change there is no call."""
        await self.put(TREE)
        other = await self.connect()
        children, properties = await self.children("/b"), await self.properties("/b")
        seen: list[Any] = []
        children(lambda view: seen.append(list(view)))
        properties(lambda view: seen.append(dict(view)))
        self.zookeeper.refuse = True
        self.drop()
        await other.create("/b/f")
        self.zookeeper.refuse = False
        await self.until(lambda: len(seen) == 3)
        self.assertEqual(seen[2], ["d", "e", "f"])
        await self.client.set("/b", b"{}")
        await self.until(lambda: len(seen) == 4)

    async def test_views_outlive_sessions(self) -> None:
        """After an expiry, views are kept current in the next session."""
        await self.put(TREE)
        children, properties = await self.children("/a/l"), await self.properties("/b")
        seen: list[Any] = []
        children(lambda view: seen.append(list(view)))
        properties(lambda view: seen.append(dict(view)))
        for name in "fgh":
            self.expire()
            await self.retry(partial(self.client.create, f"/b/{name}"))
            await self.until(partial(operator.contains, children, name))
        self.assertEqual(len(seen), 5)

    async def test_changes_outlast_the_session(self) -> None:
        """A change that waits for a connection is made in the next session."""
        await self.put(TREE)
        properties = await self.properties("/b")
        self.zookeeper.refuse = True
        self.drop()
        await self.until(lambda: self.client.state is State.SUSPENDED)
        changes = [properties.update(x=1), properties.set(z=2)]
        self.expire()
        self.zookeeper.refuse = False
        for change in changes:
            await change
        self.assertEqual(self.client.statistics().expiries, 1)
        self.assertEqual(dict(properties)["z"], 2)

    async def retry(self, call: Callable[[], Deferred[Any]]) -> None:
        """A call that may fail because the session ends."""
        for _ in range(50):
            try:
                await call()
            except Exception:  # noqa: BLE001, whatever a session's end causes
                await self.sleep(0.02)
            else:
                return
        self.fail("it never worked")

    async def test_closing_the_client_ends_views_quietly(self) -> None:
        """A view keeps its last contents."""
        await self.put(TREE)
        view = await self.children("/b")
        await self.client.close()
        self.assertEqual(list(view), ["d", "e"])


class GarbageTests(LiveTestCase):
    """Views to which there is no reference any more."""

    async def test_an_unreferenced_view_is_collected(self) -> None:
        """The watches of a collected view are removed."""
        await self.put(LINKS)
        view = await self.properties("/cms")
        view(lambda view: None)
        self.assertGreater(self.watches, 2)
        reference = weakref.ref(view)
        del view
        await self.sleep(0)
        gc.collect()
        self.assertIsNone(reference())
        await self.until(lambda: self.watches == 0)
        await self.until(lambda: self.zookeeper.statistics().watches == 0)

    async def test_a_callback_does_not_keep_its_view_alive(self) -> None:
        """A view that only its own callback references is collected."""
        await self.put(TREE)
        view = await self.children("/b")
        names: list[Any] = []
        view(lambda _, view=view: names.append(view))
        reference = weakref.ref(view)
        del view
        await self.sleep(0)
        names.clear()
        gc.collect()
        self.assertIsNone(reference())

    async def test_a_stopped_view_stays_as_it_is(self) -> None:
        """After `stop` there are no watches and no changes."""
        await self.put(TREE)
        view = await self.children("/b")
        view.stop()
        self.assertEqual(self.watches, 0)
        await self.client.create("/b/f")
        self.assertEqual(list(view), ["d", "e"])


class BesidePersistentTests(LiveTestCase):
    """Views of nodes that the same client watches with ``add_watch``, too.

    Before ZooKeeper 3.9 a server has one mode of watch at a path for a connection.
    """

    semantics = "3.8"

    async def changes_seen(self, recursive: bool, view_first: bool) -> None:
        """Change a node that has views and a persistent watch, which is cancelled half-way."""
        path = f"/{recursive}-{view_first}"
        other = await self.connect()
        await other.create(path, b"{}")
        events: list[Any] = []
        children = await self.children(path) if view_first else None
        properties = await self.properties(path) if view_first else None
        watch = await self.client.add_watch(path, events.append, recursive=recursive)
        children = children or await self.children(path)
        properties = properties or await self.properties(path)
        for number in range(4):
            if number == 2:
                self.assertEqual(len(events), 4)
                await watch.cancel()
            await other.create(f"{path}/{number}")
            await self.until(partial(operator.contains, children, f"{number}"))
            await other.set(path, b'{"n": %d}' % number)
            wanted = {"n": number}
            await self.until(partial(operator.eq, properties, wanted))
        self.assertEqual(len(events), 4)

    async def test_views_beside_persistent_watches_keep_up(self) -> None:
        """Each change is seen, in any order of the watches, and after one is cancelled."""
        for recursive in (True, False):
            for view_first in (True, False):
                await self.changes_seen(recursive, view_first)
