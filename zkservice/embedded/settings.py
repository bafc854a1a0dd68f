"""The settings of a server, with units and the names that Java has for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zkservice.wire.frames import JUTE_MAXBUFFER


@dataclass(frozen=True)
class ServerSettings:
    """The settings of one server.  Times are in seconds.

    Raises:
        ValueError: a value is invalid; the message says which.
    """

    #: The unit of session expiry.  Java's default is 3 s, that of its sample file 2 s.
    tick_time: float = 2.0
    #: The time-outs that clients can get.  None is 2 and 20 ticks (ZooKeeperServer.java).
    min_session_timeout: float | None = None
    max_session_timeout: float | None = None
    #: ``super:BASE64``: the digest id of the super user; None if there is none.
    super_digest: str | None = None
    #: Users and passwords for SASL DIGEST-MD5; None switches SASL off.
    sasl_users: Mapping[str, str] | None = field(default=None, repr=False)
    #: Whether clients can create TTL nodes (``zookeeper.extendedTypesEnabled``); Java's default
    #: is no.
    ttl_nodes: bool = True
    #: How often containers and TTL nodes are checked (ContainerManager.java).
    reap_interval: float = 60.0
    #: The largest request, in bytes (``jute.maxbuffer``).
    max_frame: int = JUTE_MAXBUFFER
    #: Connections from one address, 0 for any number.  Java's default, 60, is for ensembles
    #: that many machines share.
    max_connections: int = 0
    #: Sessions, with and without a connection, 0 for any number.  Java's server has no limit.
    max_sessions: int = 10_000
    #: Watches of one connection, 0 for any number.  Java's server has no limit.
    max_watches: int = 100_000
    #: The longest time from a connection to its first request (sessionlessCnxnTimeout).
    handshake_timeout: float = 10.0
    #: Whether hard limits in ``/zookeeper/quota`` refuse writes (``enforceQuota``).
    enforce_quota: bool = False
    #: The release whose watches the server has, ``"3.9"`` or ``"3.8"``.  Before 3.9 a
    #: connection has one mode of watch at a path (ZOOKEEPER-4466), events have no zxid
    #: (ZOOKEEPER-4655), and removeWatches cannot remove persistent watches.
    watch_semantics: str = "3.9"

    def __post_init__(self) -> None:
        if self.watch_semantics not in ("3.8", "3.9"):
            raise ValueError(
                f"watch_semantics must be '3.8' or '3.9', got {self.watch_semantics!r}"
            )
        for name in ("tick_time", "reap_interval", "handshake_timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)!r}")
        if self.session_timeouts[0] > self.session_timeouts[1]:
            raise ValueError(
                f"the shortest session time-out ({self.session_timeouts[0]} s) "
                f"must not exceed the longest one ({self.session_timeouts[1]} s)"
            )

    @property
    def session_timeouts(self) -> tuple[float, float]:
        """The shortest and the longest session time-out."""
        shortest, longest = self.min_session_timeout, self.max_session_timeout
        return (
            2 * self.tick_time if shortest is None else shortest,
            20 * self.tick_time if longest is None else longest,
        )

    def negotiated(self, milliseconds: int) -> float:
        """The time-out in seconds for a client that requests this one."""
        shortest, longest = self.session_timeouts
        return min(max(milliseconds / 1000, shortest), longest)
