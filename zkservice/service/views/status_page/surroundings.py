"""What ZooKeeper holds around a service: its siblings, the tree and the links below them.

It is read only while the page is viewed, up to a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from zkservice.client import ZooKeeperClient
from zkservice.errors import ZooKeeperError
from zkservice.properties import decode
from zkservice.registry import Children, live_children
from zkservice.service.state.facts import describe_siblings, describe_tree
from zkservice.service.views.status_page.recent import Happenings
from zkservice.tree import TreeNode
from zkservice.tree.graph import get_edges
from zkservice.znodes import split

__all__ = ["Surroundings", "service_edges"]

#: Seconds after the last view of the page until reading stops, and between two readings.
_VIEWED_FOR: Final = 15.0
_INTERVAL: Final = 5.0
#: Znodes beside this service's that are read, and znodes of the tree.
_MAX_SIBLINGS: Final = 50
_MAX_TREE: Final = 120
#: Znodes that are searched for links.
_MAX_GRAPH: Final = 400


class Surroundings:
    """Follows what is at and below a path, while the page is viewed.

    Args:
        client: of the service.
        path: returns where the service is registered.
        reactor: tells the time.
        happenings: records addresses that are registered or removed.

    Attributes:
        siblings: as `describe_siblings` has them.
        more_siblings: how many more there are.
        tree: as `describe_tree` has it.
        tree_truncated: whether there is more of it.
        edges: pairs of a service and one that it uses.
        problem: why nothing can be read; "" if it can.
    """

    def __init__(
        self,
        client: ZooKeeperClient,
        path: Callable[[], str],
        reactor: Any,
        happenings: Happenings,
    ) -> None:
        self.siblings: Sequence[Mapping[str, Any]] = ()
        self.more_siblings = 0
        self.tree: Sequence[Mapping[str, Any]] = ()
        self.tree_truncated = False
        self.edges: Sequence[tuple[str, str]] = ()
        self.problem = ""
        self._client = client
        self._path = path
        self._reactor = reactor
        self._happenings = happenings
        self._names: frozenset[str] | None = None  # of the children; None: not known yet
        self._view: Children | None = None
        self._viewed_at = 0.0
        self._loop = LoopingCall(self._read)
        self._loop.clock = reactor

    def keep_reading(self) -> None:
        """Read now and for a while: the page is viewed."""
        self._viewed_at = self._reactor.seconds()
        if not self._loop.running:
            self._loop.start(_INTERVAL).addErrback(lambda failure: None)

    def stop(self) -> None:
        """Stop reading."""
        if self._loop.running:
            self._loop.stop()
        if self._view is not None:
            self._view.stop()
        self._view = self._names = None

    def _read(self) -> Deferred[None] | None:
        if self._reactor.seconds() - self._viewed_at > _VIEWED_FOR:
            self.stop()
            return None
        reading = Deferred.fromCoroutine(self._read_all())
        return reading.addTimeout(_INTERVAL, self._reactor).addErrback(self._failed)

    async def _read_all(self) -> None:
        path = self._path()
        if self._view is not None and self._view.path != path:  # a link leads elsewhere now
            self._view.stop()
            self._view = self._names = None
        if self._view is None:
            self._view = await live_children(self._client, path, reactor=self._reactor)
            self._view(self._children_changed)
        await self._read_siblings()
        self.tree, self.tree_truncated = await describe_tree(self._client, path, _MAX_TREE)
        everything, _ = await describe_tree(self._client, "/", _MAX_GRAPH)
        self.edges = service_edges(everything)
        self.problem = ""

    def _children_changed(self, children: Children | None = None) -> None:
        names = frozenset(() if children is None else children)
        if self._names is not None:
            for name in sorted(names - self._names):
                self._happenings.add(f"{name} has come", good=True)
            for name in sorted(self._names - names):
                self._happenings.add(f"{name} has gone", good=False)
        self._names = names
        Deferred.fromCoroutine(self._read_siblings()).addErrback(self._failed)

    async def _read_siblings(self) -> None:
        self.siblings, self.more_siblings = await describe_siblings(
            self._client, self._path(), _MAX_SIBLINGS
        )

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, CancelledError):
            self.problem = "ZooKeeper does not reply"
        elif isinstance(error, ZooKeeperError):
            self.problem = str(error) or type(error).__name__
        else:
            self.problem = type(error).__name__


def service_edges(nodes: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Which service uses which, from a tree as `describe_tree` has it."""
    root = TreeNode()
    known = {"/": root}
    for node in nodes:
        above, name = split(node["path"])
        if not name or above not in known:
            continue
        found = TreeNode(decode(str(node.get("data", "")).encode(), lambda error: None))
        known[node["path"]] = known[above].children[name] = found
    return get_edges(root)
