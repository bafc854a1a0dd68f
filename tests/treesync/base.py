"""A server in the process and a client of it, for tests of what is built on both."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet import reactor  # noqa: TID251
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.python import log
from twisted.trial.unittest import TestCase
from typing_extensions import override

from tests.client.network import Network
from zkservice.client import Get, GetChildren, ZooKeeperClient
from zkservice.embedded import ZooKeeperServer
from zkservice.testing import EmbeddedZooKeeper
from zkservice.tree import TreeNode, parse_tree
from zkservice.treesync import Outcome, apply_plan, make_import_plan, read_tree
from zkservice.wire.acl import OPEN_ACL_UNSAFE

HOST, PORT = "10.0.0.1", 2181
#: Seconds of the network's time for each turn of the installed reactor.
TURN = 0.01


class ServerTestCase(TestCase):
    """Tests against a server of their own, on a network without sockets.

    The network's time advances with each turn of the installed reactor, however long that
    takes, so a test waits for no clock.
    """

    timeout = 300
    reactor: Any  #: tells the time
    zookeeper: Any  #: the server
    hosts = f"{HOST}:{PORT}"
    #: Which ZooKeeper's watches the server has.
    semantics = "3.9"

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        await self.start()
        self.client = await self.connect()

    async def start(self) -> None:
        """Start the server."""
        self.reactor = network = Network()
        turns = LoopingCall(network.advance, TURN)
        turns.start(0, now=False).addErrback(lambda failure: log.err(failure))
        self.addCleanup(turns.stop)
        self.zookeeper = ZooKeeperServer(
            network, tick_time=0.5, secret=b"s", watch_semantics=self.semantics
        )
        network.listen(HOST, PORT, self.zookeeper.factory)
        self.zookeeper.start()
        self.addCleanup(self.zookeeper.stop)

    def new_client(self, chroot: str = "", **options: Any) -> ZooKeeperClient:
        """A client that does not connect yet."""
        options = {"random": Random(1), "clock": self.reactor.seconds, **options}
        return ZooKeeperClient(self.hosts + chroot, reactor=self.reactor, **options)

    async def connect(self, chroot: str = "", **options: Any) -> ZooKeeperClient:
        """Another client; closed when the test ends."""
        client = self.new_client(chroot, **options)
        self.addCleanup(client.close)
        await client.connect(timeout=60)
        return client

    def sleep(self, seconds: float) -> Deferred[None]:
        """Let time go by."""
        return deferLater(self.reactor, seconds)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition, a minute or more at most."""
        for _ in range(20_000):
            if condition():
                return
            await self.sleep(0.005)
        self.fail("it did not happen")

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
        return int(self.zookeeper.statistics().zxid)


class SocketTestCase(ServerTestCase):
    """Tests against a server with a loopback port."""

    @override
    async def start(self) -> None:
        self.reactor = reactor
        self.zookeeper = EmbeddedZooKeeper()
        await self.zookeeper.start()
        self.addCleanup(self.zookeeper.stop)
        self.hosts = self.zookeeper.connection_string


class Intercepted:
    """A client whose calls go through a function of the test."""

    def __init__(self, client: ZooKeeperClient, seen: Callable[..., Any]) -> None:
        """Args:
        client: does the work.
        seen: called with the name, the call and its arguments; its result takes the place
            of the client's.
        """
        self._client = client
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not callable(method):
            return method
        return lambda *args, **kwargs: self._seen(name, lambda: method(*args, **kwargs), *args)


def asked(name: str, *args: Any) -> list[str]:
    """The reads that a call makes; ``read_all`` makes several."""
    if name != "read_all":
        return [f"{name} {args[0]}"]
    kinds = {Get: "get", GetChildren: "get_children"}
    return [f"{kinds[type(one)]} {one.path}" for one in args[0]]
