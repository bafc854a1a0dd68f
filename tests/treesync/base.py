"""A server in the process and a client of it, for tests of what is built on both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import TestCase
from typing_extensions import override

from zkservice.client import Get, GetChildren, ZooKeeperClient
from zkservice.testing import EmbeddedZooKeeper
from zkservice.tree import TreeNode, parse_tree
from zkservice.treesync import Outcome, apply_plan, make_import_plan, read_tree
from zkservice.wire.acl import OPEN_ACL_UNSAFE


class ServerTestCase(TestCase):
    """Tests against a server of their own; real sockets, as short as they can be."""

    timeout = 60

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        self.zookeeper = EmbeddedZooKeeper()
        await self.zookeeper.start()
        self.addCleanup(self.zookeeper.stop)
        self.client = await self.connect()

    async def connect(self, chroot: str = "") -> ZooKeeperClient:
        """Another client; closed when the test ends."""
        client = ZooKeeperClient(self.zookeeper.connection_string + chroot)
        self.addCleanup(client.close)
        await client.connect(timeout=10)
        return client

    async def put(self, text: str | TreeNode, path: str = "/", **options: Any) -> Outcome:
        """Import a tree."""
        tree = parse_tree(text) if isinstance(text, str) else text
        options = {"acl": OPEN_ACL_UNSAFE, "trim": True, **options}
        plan = await make_import_plan(self.client, tree, path, **options)
        return await apply_plan(self.client, plan)

    async def tree(self, path: str = "/") -> TreeNode:
        """What is there."""
        node = (await read_tree(self.client, path)).to_tree(ephemeral=True)
        node.children.pop("zookeeper", None)
        return node

    @property
    def zxid(self) -> int:
        """Of the last change that the server made."""
        return self.zookeeper.statistics().zxid


class Intercepted:
    """A client whose calls a test sees first."""

    def __init__(self, client: ZooKeeperClient, seen: Callable[..., Any]) -> None:
        """Args:
        client: does the work.
        seen: called with the name, the call and its arguments; what it answers, instead of
            the client, is the answer.
        """
        self._client = client
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not callable(method):
            return method
        return lambda *args, **kwargs: self._seen(name, lambda: method(*args, **kwargs), *args)


def asked(name: str, *args: Any) -> list[str]:
    """What a call asks for; one call may ask for several things."""
    if name != "read_all":
        return [f"{name} {args[0]}"]
    kinds = {Get: "get", GetChildren: "get_children"}
    return [f"{kinds[type(one)]} {one.path}" for one in args[0]]
