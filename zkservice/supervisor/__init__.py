"""A parent process and its workers: listening sockets, start, watch, reload, recycle.

The parent accepts connections and passes each to the worker that has the fewest.  It imports
no application code and knows neither HTTP nor ZooKeeper; the service says what a worker runs.
"""

from __future__ import annotations

from zkservice.supervisor.child import WorkerSide
from zkservice.supervisor.connections import Acceptor, ConnectionReceiver
from zkservice.supervisor.file_watch import FileWatch, expand, stamp_of
from zkservice.supervisor.messages import VERSION
from zkservice.supervisor.pool import PoolSettings, ProcessPool
from zkservice.supervisor.process import WorkerProcess
from zkservice.supervisor.recycling import (
    Permission,
    RecyclingSettings,
    SelfRecycling,
    resident_bytes,
)

__all__ = [
    "VERSION",
    "Acceptor",
    "ConnectionReceiver",
    "FileWatch",
    "Permission",
    "PoolSettings",
    "ProcessPool",
    "RecyclingSettings",
    "SelfRecycling",
    "WorkerProcess",
    "WorkerSide",
    "expand",
    "resident_bytes",
    "stamp_of",
]
