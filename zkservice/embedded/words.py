"""Four-letter words: a server's reports for people, in plain text (CommandExecutor.java)."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import Final

from zkservice.embedded.connection import Connection
from zkservice.embedded.keeper import Keeper

#: The release of ZooKeeper whose behaviour this is; clients read it from ``envi``.
ZOOKEEPER_VERSION: Final = "3.9.3-zkservice, built on 2024-10-17 23:21 UTC"


class Words:
    """Answer four-letter words about a `Keeper`."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._reports: dict[bytes, Callable[[Connection], str]] = {
            b"ruok": lambda _: "imok",
            b"isro": lambda _: "ro" if keeper.read_only else "rw",
            b"srvr": self._srvr,
            b"envi": self._envi,
        }

    def answer(self, word: bytes, connection: Connection) -> bytes | None:
        """The report, or None: these four bytes are no word."""
        report = self._reports.get(word)
        if report is None:
            return None
        connection.traffic.received += 1
        return report(connection).encode()

    def _srvr(self, connection: Connection) -> str:
        return f"Zookeeper version: {ZOOKEEPER_VERSION}\n{self._state()}"

    def _state(self) -> str:
        keeper = self._keeper
        received = keeper.gone.received + sum(c.traffic.received for c in keeper.connections)
        sent = keeper.gone.sent + sum(c.traffic.sent for c in keeper.connections)
        mode = "read-only" if keeper.read_only else "standalone"
        return (
            "Latency min/avg/max: 0/0.0/0\n"
            f"Received: {received}\n"
            f"Sent: {sent}\n"
            f"Connections: {len(keeper.connections)}\n"
            "Outstanding: 0\n"
            f"Zxid: {keeper.zxid:#x}\n"
            f"Mode: {mode}\n"
            f"Node count: {len(keeper.tree) + 1}\n"  # the root's other name counts
        )

    def _envi(self, connection: Connection) -> str:
        return (
            "Environment:\n"
            f"zookeeper.version={ZOOKEEPER_VERSION}\n"
            f"host.name={socket.gethostname()}\n"
            f"python.version={sys.version.split()[0]}\n"
            f"os.name={sys.platform}\n"
        )
