"""The client for the server and client endpoint strings ``zk:``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from zkservice.client.client import ZooKeeperClient
from zkservice.wire.hosts import parse_hosts

__all__ = ["PREFIX", "TIMEOUT", "Connect", "new_client", "servers_from", "unescaped_colon"]

PREFIX: Final = "zk"
#: Seconds within which ZooKeeper must reply.
TIMEOUT: Final = 10.0

#: Makes a client from a reactor and a connection string.
Connect = Callable[[Any, str], ZooKeeperClient]


def new_client(reactor: Any, servers: str) -> ZooKeeperClient:
    """A client that is not connected yet."""
    return ZooKeeperClient(servers, reactor=reactor)


def servers_from(given: str | None, environ: Mapping[str, str] | None = None) -> str:
    """The connection string from an endpoint description, else from the environment.

    Args:
        given: the ``servers`` of the endpoint description, if it has any.
        environ: the environment; the process's if None.  Its variable is
            ``ZC_ZK_CONNECTION_STRING``.

    Raises:
        ValueError: neither has a connection string.
        InvalidHostsError: the connection string is invalid.
    """
    environ = os.environ if environ is None else environ
    servers = given or environ.get("ZC_ZK_CONNECTION_STRING", "")
    if not servers:
        raise ValueError("ZooKeeper's address is missing; expected zk:/path:servers=host1\\:2181")
    parse_hosts(servers)
    return servers


def unescaped_colon(path: str, rest: str) -> ValueError:
    """The error for a part of a description that was cut off at a colon.

    Args:
        path: the first part of the description.
        rest: what follows the colon.
    """
    return ValueError(
        f"zk:{path}: {rest!r} is no option; escape each colon within a value with a backslash, "
        "as in servers=host1\\:2181"
    )
