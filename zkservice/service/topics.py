"""What the options of zkserve are about: the order of ``--help``, and of the manual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from zkservice.web import limits_table

#: The titles are those of the sections of docs/operating.rst.
TOPICS: Final[Mapping[str, Sequence[str]]] = {
    "The application": ("threads",),
    "Where it listens, and what it registers": (
        *("path", "host", "port", "listen", "socket-owner"),
        *("advertise", "property", "format", "acl"),
    ),
    "Which ZooKeeper": (
        *("zookeeper", "session-timeout", "zookeeper-tls", "zookeeper-ca", "zookeeper-cert"),
        *("zookeeper-key", "zookeeper-server-name", "zookeeper-auth", "zookeeper-sasl"),
    ),
    "Health": (
        *("health", "health-tcp", "health-interval", "health-timeout"),
        *("health-rise", "health-fall"),
    ),
    "The monitor": ("monitor", "monitor-command", "manhole", "manhole-keys", "manhole-host-key"),
    "Stopping": ("drain-wait", "drain-timeout"),
    "Limits": tuple(limit.option for limit in limits_table()),
    "Views": ("view", "status-views", "metrics"),
    "Behind a proxy": ("trusted-proxy", "proxy-hops", "proxy-header"),
    "Logs": ("access-log", "access-log-format", "trace-log", "loggers"),
}
