"""Tests of the resolver that must pass with any ZooKeeper."""

from __future__ import annotations

import uuid

from twisted.internet import reactor  # noqa: TID251 - loopback connections
from twisted.trial.unittest import TestCase
from typing_extensions import override

from zkservice.client import ZooKeeperClient
from zkservice.discovery import Resolver
from zkservice.formats import FORMATS, Announcement


class Contract(TestCase):
    """Subclasses set the ZooKeeper."""

    timeout = 300

    def hosts(self) -> str:
        """Its connection string."""
        raise NotImplementedError

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        self.admin = await self.connect()
        self.path = f"/{uuid.uuid4().hex}"
        await self.admin.create(self.path)

    async def connect(self) -> ZooKeeperClient:
        """A client that is closed when the test ends."""
        client = ZooKeeperClient(self.hosts())
        self.addCleanup(client.close)
        return await client.connect(60.0)

    async def resolver(self) -> Resolver:
        """A resolver with a client of its own."""
        resolver = Resolver(await self.connect(), self.path, reactor=reactor)
        self.addCleanup(resolver.close)
        return await resolver.start()

    def shown(self, resolver: Resolver) -> str:
        """Hosts and weights."""
        return " ".join(sorted(f"{one.host}*{one.weight:g}" for one in resolver.providers))

    async def until(self, resolver: Resolver, expected: str) -> None:
        """Wait until the resolver shows this."""
        while self.shown(resolver) != expected:
            await resolver.when_changed()

    async def test_every_change_is_seen(self) -> None:
        """Providers come, change their data, and go; the same again after each watch."""
        resolver = await self.resolver()
        for _ in range(3):
            await self.admin.create(f"{self.path}/a:80")
            await self.until(resolver, "a*1")
            await self.admin.set(f"{self.path}/a:80", b'{"weight": 2}')
            await self.until(resolver, "a*2")
            await self.admin.create(f"{self.path}/b:80")
            await self.until(resolver, "a*2 b*1")
            await self.admin.delete(f"{self.path}/a:80")
            await self.until(resolver, "b*1")
            await self.admin.delete(f"{self.path}/b:80")
            await self.until(resolver, "")

    async def test_session_that_ends_takes_its_providers_along(self) -> None:
        """Ephemeral members vanish with the session of their owner."""
        owner = await self.connect()
        await owner.create(f"{self.path}/a:80", ephemeral=True)
        await self.admin.create(f"{self.path}/b:80")
        resolver = await self.resolver()
        self.assertEqual(self.shown(resolver), "a*1 b*1")
        await owner.close()
        await self.until(resolver, "b*1")

    async def test_stopping_member_is_left_out(self) -> None:
        """A serverset member with the status STOPPING is in `stopping`."""
        member = FORMATS["serverset"]
        one = Announcement(self.path, "10.0.0.1:80", {}, 0)
        node = await self.admin.create(f"{self.path}/{member.znode_name(one)}", member.data(one))
        resolver = await self.resolver()
        self.assertEqual(self.shown(resolver), "10.0.0.1*1")
        last = Announcement(self.path, "10.0.0.1:80", {}, 0, available=False)
        await self.admin.set(node, member.data(last))
        await self.until(resolver, "")

    async def test_many_members_at_once(self) -> None:
        """Three hundred members of one transaction are three hundred providers."""
        resolver = await self.resolver()
        waiting = resolver.wait_for(300)
        transaction = self.admin.transaction()
        for number in range(300):
            transaction.create(f"{self.path}/h{number}:80")
        await transaction.commit()
        await waiting
        self.assertEqual(len({one.host for one in resolver.providers}), 300)
