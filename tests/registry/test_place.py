"""Tests of registrations whose path leads through symbolic links."""

from __future__ import annotations

import atexit
import json
from typing import Any, ClassVar
from uuid import uuid4

from twisted.internet import reactor  # noqa: TID251 - loopback connections
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from zkservice.client import ZooKeeperClient
from zkservice.errors import LinkLoopError
from zkservice.registry import Registration, RegistrationState, register
from zkservice.testing import EmbeddedZooKeeper
from zkservice.testing.apache import ApacheZooKeeper, skip_without_apache

ADDRESS = "h:1"


class PlaceContract:
    """A registration is where its path leads, on either server."""

    timeout = 20
    connection_string: str

    async def begin(self: Any) -> None:
        """Two clients, below a znode of the test's own."""
        maker = ZooKeeperClient(self.connection_string)
        await maker.connect(10.0)
        self.chroot = f"/{uuid4()}"
        await maker.create(self.chroot)
        await maker.close()
        self.client, self.other = await self.connect(), await self.connect()

    async def connect(self: Any, **options: Any) -> ZooKeeperClient:
        """A connected client that is closed after the test."""
        client = ZooKeeperClient(self.connection_string + self.chroot, 4.0, **options)
        self.addCleanup(client.close)
        return await client.connect(10.0)

    async def put(self: Any, path: str, **properties: str) -> None:
        """A node with links: ``name="/target"``."""
        data = json.dumps({f"{name} ->": target for name, target in properties.items()}).encode()
        await self.other.ensure_path(path)
        await self.other.set(path, data)

    def register(self: Any, path: str, **options: Any) -> Registration:
        """A registration that draws no dice."""
        return register(self.client, path, ADDRESS, random=lambda: 0.0, **options)

    async def children(self: Any, path: str) -> list[str] | None:
        """What is below a path; None if there is no such node."""
        if await self.other.exists(path) is None:
            return None
        return list(await self.other.get_children(path))

    async def until(self: Any, path: str, expected: list[str] | None) -> None:
        """Wait for the children of a path."""
        for _ in range(500):
            if await self.children(path) == expected:
                return
            await deferLater(reactor, 0.02, lambda: None)
        self.assertEqual(await self.children(path), expected)

    async def test_a_link_is_followed(self: Any) -> None:
        """The znode is made where the link leads; no real node hides the link."""
        await self.put("/real/providers")
        await self.put("/links", web="/real/providers")
        one = await self.register("/links/web").when_registered()
        self.assertEqual(one.path, f"/real/providers/{ADDRESS}")
        self.assertEqual((one.parent, one.real_parent), ("/links/web", "/real/providers"))
        self.assertEqual(await self.children("/links"), [])

    async def test_missing_below_a_link(self: Any) -> None:
        """What is missing is created behind the link, not in its place."""
        await self.put("/real")
        await self.put("/links", web="/real")
        await self.register("/links/web/providers").when_registered()
        self.assertEqual(await self.children("/real/providers"), [ADDRESS])
        self.assertEqual(await self.children("/links"), [])

    async def test_the_target_is_missing(self: Any) -> None:
        """Where the link leads to nothing, that is created."""
        await self.put("/links", web="/fresh/providers")
        await self.register("/links/web").when_registered()
        self.assertEqual(await self.children("/fresh/providers"), [ADDRESS])
        self.assertEqual(await self.children("/links"), [])

    async def test_a_link_that_changes(self: Any) -> None:
        """The registration moves with the link, each time."""
        await self.put("/blue")
        await self.put("/green")
        await self.put("/links", web="/blue")
        one = await self.register("/links/web").when_registered()
        for target, before in (("/green", "/blue"), ("/blue", "/green")):
            await self.put("/links", web=target)
            await self.until(target, [ADDRESS])
            await self.until(before, [])
        self.assertEqual(one.real_parent, "/blue")
        await one.unregister()
        self.assertEqual(await self.children("/blue"), [])

    async def test_a_link_that_changes_during_an_expiry(self: Any) -> None:
        """The new session registers where the link leads by then."""
        await self.put("/blue")
        await self.put("/green")
        await self.put("/links", web="/blue")
        one = await self.register("/links/web").when_registered()
        await self.put("/links", web="/green")
        twin = await self.connect(client_id=self.client.client_id)
        await twin.close()  # and with it the session
        await self.until("/green", [ADDRESS])
        await self.until("/blue", [])
        await one.when_registered()

    async def test_a_link_that_goes_away(self: Any) -> None:
        """Nothing takes the link's place; when it is back, it is followed."""
        await self.put("/blue")
        await self.put("/green")
        await self.put("/links", web="/blue")
        one = await self.register("/links/web").when_registered()
        for broken in ({}, {"web": "/links/web/round"}, {"web": "/nowhere"}):
            await self.put("/links", **broken)
            await one.update(changed=len(broken))
            self.assertEqual(await self.children("/blue"), [ADDRESS])
            self.assertEqual(await self.children("/links"), [])
            self.assertIsNone(await self.children("/nowhere"))
        await self.put("/links", web="/green")
        await self.until("/green", [ADDRESS])
        await self.until("/blue", [])

    async def test_a_loop(self: Any) -> None:
        """A path that leads in a circle is refused with the links, and followed when mended."""
        await self.put("/links", web="/links/web/on")
        one = self.register("/links/web")
        with self.assertRaises(LinkLoopError):
            await one.when_registered()
        self.assertIs(one.state, RegistrationState.FAILING)
        await self.put("/links", web="/mended")
        await self.until("/mended", [ADDRESS])

    async def test_a_real_node_that_becomes_a_link(self: Any) -> None:
        """A node that is replaced by a link is not made again."""
        await self.put("/links/web")
        await self.register("/links/web").when_registered()
        delete = self.other.transaction()
        delete.delete(f"/links/web/{ADDRESS}")
        delete.delete("/links/web")
        delete.set("/links", json.dumps({"web ->": "/green"}).encode())
        await delete.commit()
        await self.until("/green", [ADDRESS])
        self.assertEqual(await self.children("/links"), [])

    async def test_out_and_in(self: Any) -> None:
        """What is taken out is gone everywhere, and put back where the link leads then."""
        await self.put("/green")
        await self.put("/links", web="/blue")
        one = await self.register("/links/web").when_registered()
        one.suspend("lunch")
        await self.until("/blue", [])
        await self.put("/links", web="/green")
        one.resume()
        await self.until("/green", [ADDRESS])
        self.assertEqual(await self.children("/blue"), [])

    async def test_unregistered_leaves_no_watches(self: Any) -> None:
        """Nothing of an unregistered registration stays on the server."""
        await self.put("/links", web="/blue")
        one = await self.register("/links/web").when_registered()
        await one.unregister()
        await self.put("/links", web="/green")
        await deferLater(reactor, 0.2, lambda: None)
        self.assertIsNone(await self.children("/green"))


class EmbeddedPlaceTests(PlaceContract, TestCase):
    """On the embedded server."""

    async def setUp(self) -> None:  # type: ignore[override]
        """A server."""
        self.server = EmbeddedZooKeeper(tick_time=0.2)
        await self.server.start()
        self.addCleanup(self.server.stop)
        self.connection_string = self.server.connection_string
        await self.begin()

    async def test_connection_cut_at_every_step_of_a_move(self) -> None:
        """Wherever the connection breaks, the znode ends at the new place and only there."""
        await self.put("/blue")
        await self.put("/green")
        await self.put("/links", web="/blue")
        one = await self.register("/links/web").when_registered()
        targets = ["/blue", "/green"]
        for requests in range(12):
            before, after = targets[requests % 2], targets[(requests + 1) % 2]
            self.cut_after(requests)
            await self.put("/links", web=after)
            await self.until(after, [ADDRESS])
            await self.until(before, [])
            await one.when_registered()

    def cut_after(self, requests: int) -> None:
        """Break our connection when the server has read so many more requests of it."""
        keeper, seen = self.server.server, 0
        received = keeper.received
        ours = self.client.client_id[0]

        def count(connection: Any, frames: Any) -> bool:
            nonlocal seen
            reply = received(connection, frames)
            if connection.session is not None and connection.session.id == ours:
                seen += 1
                if seen > requests:
                    keeper.received = received  # type: ignore[method-assign]
                    keeper.drop(ours)
            return reply

        keeper.received = count  # type: ignore[method-assign]


@skip_without_apache
class ApachePlaceTests(PlaceContract, TestCase):
    """On Apache's."""

    server: ClassVar[ApacheZooKeeper | None] = None

    async def setUp(self) -> None:  # type: ignore[override]
        """One server for all tests: it takes a second to start."""
        if ApachePlaceTests.server is None:
            ApachePlaceTests.server = ApacheZooKeeper()
            atexit.register(ApachePlaceTests.server.remove)
            ApachePlaceTests.server.start()
        self.connection_string = ApachePlaceTests.server.connection_string
        await self.begin()
