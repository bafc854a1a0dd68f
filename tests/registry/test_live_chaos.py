"""Live views while everything happens: an independent client changes nodes, the connection
breaks, the session ends.
"""

from __future__ import annotations

import contextlib
import json
import logging
from itertools import pairwise
from random import Random
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError, NoNodeError
from twisted.internet import reactor  # noqa: TID251
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from typing_extensions import override

from tests import effort
from tests.treesync.base import SocketTestCase
from zkservice.registry.live_views import live_children, live_properties

#: Nodes that come, go and change; "link" leads to one of two.
NAMES = ["a", "b", "c", "d"]
CHANGES = effort(400, 100)


class World:
    """Changes nodes through kazoo, and records all of their states.

    A view may see what is between two changes, never anything else.
    """

    def __init__(self, hosts: str, random: Random) -> None:
        logging.getLogger("kazoo").setLevel(logging.CRITICAL)
        self.random = random
        self.kazoo = KazooClient(hosts)
        self.children_seen: set[tuple[str, ...]] = set()
        self.properties_seen: set[str] = set()
        self.number = 0

    def start(self) -> None:
        """Create the first state."""
        self.kazoo.start()
        self.kazoo.create("/one", b'{"n":0}')
        self.kazoo.create("/two", b'{"n":0}')
        self.kazoo.create("/top", b'{"link ->":"/one","far =>":"link n"}')
        self.note()

    def stop(self) -> None:
        """Stop the client."""
        self.kazoo.stop()
        self.kazoo.close()

    def change(self) -> None:
        """Make a random change."""
        self.number += 1
        place = self.random.choice(["/one", "/two"])
        with contextlib.suppress(NoNodeError, NodeExistsError):
            self.random.choice([self.create, self.delete, self.set, self.set, self.move])(place)
        self.note()

    def create(self, place: str) -> None:
        """Create a child."""
        self.kazoo.create(f"{place}/{self.random.choice(NAMES)}")

    def delete(self, place: str) -> None:
        """Delete a child."""
        self.kazoo.delete(f"{place}/{self.random.choice(NAMES)}")

    def set(self, place: str) -> None:
        """Set the properties, sometimes to the same values."""
        self.kazoo.set(place, json.dumps({"n": self.random.choice([self.number, 1])}).encode())

    def move(self, place: str) -> None:
        """Change the link, sometimes to a missing node."""
        target = self.random.choice([place, place, "/nowhere"])
        self.kazoo.set("/top", json.dumps({"link ->": target, "far =>": "link n"}).encode())

    def note(self) -> None:
        """Record the present states of both possible targets of the link."""
        for place in ("/one", "/two"):
            self.children_seen.add(tuple(sorted(self.kazoo.get_children(place))))
            self.properties_seen.add(self.kazoo.get(place)[0].decode())

    def now(self) -> tuple[str, tuple[str, ...], Any]:
        """The target of the link, and its contents."""
        place = json.loads(self.kazoo.get("/top")[0])["link ->"]
        if place == "/nowhere":
            return place, (), None
        children = tuple(sorted(self.kazoo.get_children(place)))
        return place, children, json.loads(self.kazoo.get(place)[0])


class ChaosTests(SocketTestCase):
    """Many changes, with faults of the views' connection and session."""

    timeout = 300

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.random = Random(7)
        self.world = World(self.zookeeper.connection_string, self.random)
        await deferToThread(self.world.start)
        self.addCleanup(deferToThread, self.world.stop)

    async def test_views_keep_up(self) -> None:
        """The views end equal to the server; every callback saw a state that existed."""
        children = await live_children(self.client, "/top/link", reactor=reactor)
        properties = await live_properties(self.client, "/top/link", reactor=reactor)
        linked = await live_properties(self.client, "/top", reactor=reactor)
        children_told: list[tuple[str, ...]] = []
        properties_told: list[str] = []
        linked_told: list[Any] = []
        children(lambda *views: children_told.extend(tuple(view) for view in views))
        properties(lambda *views: properties_told.extend(json.dumps(dict(view)) for view in views))
        linked(lambda view: linked_told.append(view._linked["far"].value))
        for number in range(CHANGES):
            await deferToThread(self.world.change)
            self.disturb(number)
            await deferLater(reactor, self.random.choice([0, 0.01]))
        place, names, data = await deferToThread(self.world.now)
        if place == "/nowhere":
            await deferToThread(
                self.world.kazoo.set, "/top", b'{"link ->":"/two","far =>":"link n"}'
            )
            place, names, data = await deferToThread(self.world.now)
        for _ in range(10_000):
            seen = (children.real_path, tuple(children), dict(properties))
            if seen == (place, names, data) and linked._linked["far"].value == data["n"]:
                break
            await deferLater(reactor, 0.01)
        self.assertEqual((children.real_path, tuple(children)), (place, names))
        self.assertEqual((properties.real_path, dict(properties)), (place, data))
        self.assertEqual(linked["far"], data["n"])
        self.assertLessEqual(set(children_told), self.world.children_seen)
        existed = {json.dumps(json.loads(text)) for text in self.world.properties_seen}
        self.assertLessEqual(set(properties_told), existed)
        numbers = {json.loads(text)["n"] for text in self.world.properties_seen}
        self.assertLessEqual(set(linked_told) - {None}, numbers)
        self.assertGreater(len(children_told) + len(properties_told), CHANGES / 10)
        self.called_rarely_with_equal_values(children_told, properties_told)

    def disturb(self, number: int) -> None:
        """Break the connection at random, and expire the session."""
        session = self.client.client_id
        if session is None or number % 17:
            return
        if number % 3:
            self.zookeeper.drop(session[0])
        else:
            self.zookeeper.expire(session[0])

    def called_rarely_with_equal_values(self, children: list[Any], properties: list[Any]) -> None:
        """Callbacks rarely receive the same value twice in a row: only if it changed in between."""
        same = sum(a == b for calls in (children, properties) for a, b in pairwise(calls))
        self.assertLess(same, (len(children) + len(properties)) / 2)
