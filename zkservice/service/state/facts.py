"""A service's session and registrations as plain values for operators.

The monitor, the status page and JSON show the same values.  None of them is a secret: no session
password, no credential.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from twisted.internet.defer import DeferredList

from zkservice.client import ZooKeeperClient
from zkservice.client.counters import LATENCY_BOUNDS
from zkservice.errors import NoNodeError, ServerError
from zkservice.registry import Registration
from zkservice.wire.records import Stat
from zkservice.wire.session import State
from zkservice.znodes import join, session_name

__all__ = [
    "describe_node",
    "describe_registration",
    "describe_session",
    "describe_siblings",
    "describe_tree",
    "latency_quantile",
]

#: Bytes of a znode's data that are shown.
_MAX_DATA: Final = 2000
#: Levels of a tree that are shown.
_MAX_DEPTH: Final = 32


def describe_session(client: ZooKeeperClient) -> dict[str, Any]:
    """The session with ZooKeeper, and the client's counters since its creation.

    Times are seconds.  ``silence`` is the time since the server last confirmed the session.
    Without a connection, ``silence`` and ``server`` are None.
    """
    counts = client.statistics()
    identity, server = client.client_id, client.server
    connected = client.state in (State.CONNECTED, State.READ_ONLY)
    return {
        "state": client.state.name.lower(),
        "session": None if identity is None else session_name(identity[0]),
        "server": None if server is None else str(server),
        "timeout": client.session_timeout,
        "silence": round(client.silence, 3) if connected else None,
        "last_zxid": f"{client.last_zxid:#x}",
        "watches": counts.watches,
        "outstanding": counts.outstanding,
        "waiting": counts.waiting,
        "connections": counts.connections,
        "reconnects": max(0, counts.connections - 1 - counts.expiries),
        "expiries": counts.expiries,
        "requests": counts.requests,
        "replies": counts.replies,
        "errors": {_error_name(code): count for code, count in sorted(counts.errors.items())},
        "events": counts.events,
        "pings": counts.pings,
        "latency": {
            "mean": counts.latency_sum / counts.replies if counts.replies else None,
            "p50": latency_quantile(counts.latency, 0.5),
            "p99": latency_quantile(counts.latency, 0.99),
        },
    }


def _error_name(code: int) -> str:
    return type(ServerError.from_code(code)).__name__.removesuffix("Error")


def latency_quantile(cells: Sequence[int], quantile: float) -> float | None:
    """A quantile of the latency in seconds; None without replies.

    Args:
        cells: the histogram `Statistics.latency`.
        quantile: from 0 to 1.
    """
    wanted = sum(cells) * quantile
    if not wanted:
        return None
    seen = 0
    for bound, count in zip(LATENCY_BOUNDS, cells, strict=False):
        seen += count
        if seen >= wanted:
            return float(bound)
    return float(LATENCY_BOUNDS[-1])


def describe_registration(one: Registration, reasons: Iterable[str] = ()) -> dict[str, Any]:
    """A registration of this service.

    Args:
        one: the registration.
        reasons: why it is blocked, from `Availability.reasons`.
    """
    return {
        "state": one.state.value,
        "reason": one.reason or "; ".join(reasons),
        "addresses": list(one.addresses),
        "path": one.parent,
        "real_path": one.real_parent,
        "znodes": list(one.paths),
        "properties": dict(one.properties),
    }


async def describe_siblings(
    client: ZooKeeperClient, path: str, most: int = 200
) -> tuple[list[dict[str, Any]], int]:
    """The znodes of a service, including this one's, the oldest first.

    Args:
        client: reads the znodes.
        path: the service's path.
        most: the number of znodes to read.

    Returns:
        The znodes as returned by `describe_node`, and how many more there are.

    Raises:
        ZooKeeperError: the children cannot be read.
    """
    try:
        names = sorted(await client.get_children(path))
    except NoNodeError:
        return [], 0
    nodes = await _read_all(client, [join(path, name) for name in names[:most]])
    return sorted(nodes, key=lambda node: (node["created"], node["path"])), len(names[most:])


async def _read_all(client: ZooKeeperClient, paths: Sequence[str]) -> list[dict[str, Any]]:
    """The descriptions of znodes; those that were deleted meanwhile are left out."""
    reading = [client.get(path) for path in paths]
    outcomes: Any = await DeferredList(reading, consumeErrors=True)
    nodes = []
    for path, (succeeded, outcome) in zip(paths, outcomes, strict=True):
        if succeeded:
            nodes.append(describe_node(path, *outcome))
        elif outcome.check(NoNodeError) is None:
            nodes.append({"path": path, "created": 0.0, "error": outcome.getErrorMessage()})
    return nodes


def describe_node(path: str, data: bytes, stat: Stat) -> dict[str, Any]:
    """A znode; ``session`` is the owner of an ephemeral znode, else None."""
    return {
        "path": path,
        "data": data[:_MAX_DATA].decode("utf-8", "replace"),
        "size": stat.data_length,
        "session": session_name(stat.ephemeral_owner) if stat.ephemeral_owner else None,
        "created": stat.ctime / 1000,
        "changed": stat.mtime / 1000,
        "version": stat.version,
        "children": stat.num_children,
    }


async def describe_tree(
    client: ZooKeeperClient, path: str, most: int = 500
) -> tuple[list[dict[str, Any]], bool]:
    """The znodes at and below a path, each before its children, in the order of their names.

    Args:
        client: reads the znodes.
        path: the top of the tree.
        most: the number of znodes to read.

    Returns:
        The znodes as returned by `describe_node`, with their ``depth``, and whether there are more.

    Raises:
        ZooKeeperError: the first one cannot be read, or the connection is lost meanwhile.
    """
    found = [{**describe_node(path, *await client.get(path)), "depth": 0}]
    truncated = await _add_below(client, path, 1, most, found)
    return found, truncated


async def _add_below(
    client: ZooKeeperClient, path: str, depth: int, most: int, found: list[dict[str, Any]]
) -> bool:
    """Add the znodes below a path; return whether some were left out."""
    try:
        names = sorted(await client.get_children(path))
    except NoNodeError:
        return False
    if depth > _MAX_DEPTH:
        return bool(names)
    truncated = False
    for node in await _read_all(client, [join(path, name) for name in names[:most]]):
        if len(found) >= most:
            return True
        found.append({**node, "depth": depth})
        if node.get("children"):
            truncated |= await _add_below(client, node["path"], depth + 1, most, found)
    return truncated or len(names) > most
