"""Quotas: nodes below ``/zookeeper/quota`` that count, and limit, nodes and bytes.

Source: Quotas.java, StatsTrack.java, DataTree.updateQuotaStat, ZooKeeperServer.checkQuota.
For a quota on ``/a`` there are ``/zookeeper/quota/a/zookeeper_limits``, which clients
write, and ``.../zookeeper_stats``, which the server keeps up to date.  These nodes
are the only state; functions here only read them.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from zkservice.embedded.nodes import Tree, ZNode
from zkservice.errors import QuotaExceededError
from zkservice.znodes import parent

_QUOTA: Final = "/zookeeper/quota"
_LIMITS: Final = "/zookeeper_limits"
_STATS: Final = "/zookeeper_stats"
# At most 18 digits, which fit into Java's 64 bits: clients write these nodes, and int() of
# thousands of digits raises.
_FIELD: Final = re.compile(rb"(\w+)=(-?\d{1,18})(?!\d)")


class Usage(NamedTuple):
    """Nodes at and below a path, and the bytes of their data."""

    nodes: int
    size: int

    def plus(self, nodes: int, size: int) -> Usage:
        """The usage after a change."""
        return Usage(self.nodes + nodes, self.size + size)

    def packed(self) -> bytes:
        """The text of a ``zookeeper_stats`` node."""
        return b"count=%d,bytes=%d" % self


def counter_of(tree: Tree, path: str) -> tuple[str, ZNode] | None:
    """The ``zookeeper_stats`` node that a change at a path is counted in; None without a quota.

    It is that of the closest ancestor, or the node itself, that has a quota.
    """
    if not tree.nodes[_QUOTA].children:
        return None
    root = path
    while root not in ("", "/"):
        if _QUOTA + root + _LIMITS in tree.nodes:
            counter = _QUOTA + root + _STATS
            node = tree.nodes.get(counter)
            return None if node is None else (counter, node)
        root = parent(root)
    return None


def usage_of(counter: ZNode) -> Usage:
    """The usage in a ``zookeeper_stats`` node."""
    fields = _fields(counter)
    return Usage(fields.get(b"count", 0), fields.get(b"bytes", 0))


def initial_usage(tree: Tree, path: str) -> Usage | None:
    """What a new ``zookeeper_stats`` node must contain; None if the path is not such a node."""
    if not (path.startswith(_QUOTA + "/") and path.endswith(_STATS)):
        return None
    root = path[len(_QUOTA) : -len(_STATS)]
    if root not in tree.nodes:
        return Usage(0, 0)
    nodes = [tree.nodes[root], *(tree.nodes[below] for below in tree.descendants(root))]
    return Usage(len(nodes), sum(len(node.data or b"") for node in nodes))


def require(tree: Tree, path: str, nodes: int, size: int) -> None:
    """Check a change against the hard limits.

    Raises:
        QuotaExceededError: the change would exceed one.
    """
    found = counter_of(tree, path)
    if found is None:
        return
    counter, node = found
    limits = _fields(tree.nodes[counter.removesuffix(_STATS) + _LIMITS])
    after = usage_of(node).plus(nodes, size)
    if 0 <= limits.get(b"countHardLimit", -1) < after.nodes and nodes > 0:
        raise QuotaExceededError(path)
    if 0 <= limits.get(b"byteHardLimit", -1) < after.size and size > 0:
        raise QuotaExceededError(path)


def _fields(node: ZNode) -> dict[bytes, int]:
    return {name: int(value) for name, value in _FIELD.findall(node.data or b"")}
