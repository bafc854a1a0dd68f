"""Tests of registrations whose path leads through symbolic links."""

from __future__ import annotations

import json

from typing_extensions import override

from tests.treesync.base import ServerTestCase
from zkservice.errors import LinkLoopError
from zkservice.registry import Registration, RegistrationState, register

ADDRESS = "h:1"


class ParentPathTestCase(ServerTestCase):
    """Two clients, and registrations of one of them."""

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.other = self.client
        self.client = await self.connect(session_timeout=4.0)  # the newest connection is its

    async def links(self, path: str, **links: str) -> None:
        """A node with symbolic links: ``name="/target"``."""
        data = json.dumps({f"{name} ->": target for name, target in links.items()}).encode()
        await self.other.ensure_path(path)
        await self.other.set(path, data)

    def register(self, path: str) -> Registration:
        """A registration without jitter."""
        return register(self.client, path, ADDRESS, random=lambda: 0.0, clock=self.reactor)

    async def children(self, path: str) -> list[str] | None:
        """The children of a path; None if it does not exist."""
        if await self.other.exists(path) is None:
            return None
        return list(await self.other.get_children(path))

    async def until_children(self, path: str, expected: list[str] | None) -> None:
        """Wait for the children of a path."""
        for _ in range(500):
            if await self.children(path) == expected:
                return
            await self.sleep(0.02)
        self.assertEqual(await self.children(path), expected)


class ParentPathTests(ParentPathTestCase):
    """Registrations through links."""

    async def test_a_link_is_followed(self) -> None:
        """The znode is created where the link leads; no real node hides the link."""
        await self.links("/real/providers")
        await self.links("/links", web="/real/providers")
        one = await self.register("/links/web").when_registered()
        self.assertEqual(one.path, f"/real/providers/{ADDRESS}")
        self.assertEqual((one.parent, one.real_parent), ("/links/web", "/real/providers"))
        self.assertEqual(await self.children("/links"), [])

    async def test_what_is_missing_below_a_link_is_created_there(self) -> None:
        """Missing nodes are created at the link's target, not in its place."""
        await self.links("/real")
        await self.links("/links", web="/real")
        await self.register("/links/web/providers").when_registered()
        self.assertEqual(await self.children("/real/providers"), [ADDRESS])
        self.assertEqual(await self.children("/links"), [])

    async def test_a_missing_target_is_created(self) -> None:
        """The missing target of a link is created."""
        await self.links("/links", web="/fresh/providers")
        await self.register("/links/web").when_registered()
        self.assertEqual(await self.children("/fresh/providers"), [ADDRESS])
        self.assertEqual(await self.children("/links"), [])

    async def test_the_registration_moves_with_a_link(self) -> None:
        """The registration moves with the link, each time."""
        await self.links("/blue")
        await self.links("/green")
        await self.links("/links", web="/blue")
        one = await self.register("/links/web").when_registered()
        for target, before in (("/green", "/blue"), ("/blue", "/green")):
            await self.links("/links", web=target)
            await self.until_children(target, [ADDRESS])
            await self.until_children(before, [])
        self.assertEqual(one.real_parent, "/blue")
        await one.unregister()
        self.assertEqual(await self.children("/blue"), [])

    async def test_a_new_session_registers_where_the_link_leads(self) -> None:
        """The new session registers at the present target of the link."""
        await self.links("/blue")
        await self.links("/green")
        await self.links("/links", web="/blue")
        one = await self.register("/links/web").when_registered()
        await self.links("/links", web="/green")
        twin = await self.connect(client_id=self.client.client_id)
        await twin.close()  # and with it the session
        await self.until_children("/green", [ADDRESS])
        await self.until_children("/blue", [])
        await one.when_registered()

    async def test_no_node_takes_the_place_of_a_deleted_link(self) -> None:
        """No node is created in the place of a deleted link; when it is back, it is followed."""
        await self.links("/blue")
        await self.links("/green")
        await self.links("/links", web="/blue")
        one = await self.register("/links/web").when_registered()
        for broken in ({}, {"web": "/links/web/round"}, {"web": "/nowhere"}):
            await self.links("/links", **broken)
            await one.update(changed=len(broken))
            self.assertEqual(await self.children("/blue"), [ADDRESS])
            self.assertEqual(await self.children("/links"), [])
            self.assertIsNone(await self.children("/nowhere"))
        await self.links("/links", web="/green")
        await self.until_children("/green", [ADDRESS])
        await self.until_children("/blue", [])

    async def test_links_in_a_circle_are_refused_until_they_are_mended(self) -> None:
        """A loop of links fails with their paths; when it is corrected, it is registered."""
        await self.links("/links", web="/links/web/on")
        one = self.register("/links/web")
        with self.assertRaises(LinkLoopError):
            await one.when_registered()
        self.assertIs(one.state, RegistrationState.FAILING)
        await self.links("/links", web="/mended")
        await self.until_children("/mended", [ADDRESS])

    async def test_a_link_in_place_of_a_node_is_followed(self) -> None:
        """A node that is replaced by a link is not created again."""
        await self.links("/links/web")
        await self.register("/links/web").when_registered()
        delete = self.other.transaction()
        delete.delete(f"/links/web/{ADDRESS}")
        delete.delete("/links/web")
        delete.set("/links", json.dumps({"web ->": "/green"}).encode())
        await delete.commit()
        await self.until_children("/green", [ADDRESS])
        self.assertEqual(await self.children("/links"), [])

    async def test_a_suspended_registration_resumes_where_the_link_leads(self) -> None:
        """While suspended it is not registered; then it is, at the link's present target."""
        await self.links("/green")
        await self.links("/links", web="/blue")
        one = await self.register("/links/web").when_registered()
        one.suspend("lunch")
        await self.until_children("/blue", [])
        await self.links("/links", web="/green")
        one.resume()
        await self.until_children("/green", [ADDRESS])
        self.assertEqual(await self.children("/blue"), [])

    async def test_unregistered_leaves_no_watches(self) -> None:
        """Unregistering deletes all znodes, also those below earlier parents."""
        await self.links("/links", web="/blue")
        one = await self.register("/links/web").when_registered()
        await one.unregister()
        await self.links("/links", web="/green")
        await self.sleep(0.2)
        self.assertIsNone(await self.children("/green"))


class LostConnectionTests(ParentPathTestCase):
    """With connections that the test breaks."""

    async def test_connection_cut_at_every_step_of_a_move(self) -> None:
        """Wherever the connection breaks, the znode is only at the new target in the end."""
        await self.links("/blue")
        await self.links("/green")
        await self.links("/links", web="/blue")
        one = await self.register("/links/web").when_registered()
        targets = ["/blue", "/green"]
        for step in range(24):
            before, after = targets[step % 2], targets[(step + 1) % 2]
            cable = self.reactor.cables[-1]
            cable.client_may_send = len(cable.server.received) + 1 + 30 * step
            await self.links("/links", web=after)
            await self.until_children(after, [ADDRESS])
            await self.until_children(before, [])
            await one.when_registered()
