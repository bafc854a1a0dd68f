"""The embedded ZooKeeper in this process, used if no other one is configured."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from zkservice.embedded import ZooKeeperServer
from zkservice.errors import ConfigurationError
from zkservice.service.config import ZooKeeperTarget
from zkservice.service.ports.listening import listening_address, open_port
from zkservice.wire.hosts import DEFAULT_PORT


class InProcessZooKeeper:
    """A ZooKeeper server in this process, at ZooKeeper's port if that is free."""

    _log = Logger()

    def __init__(self, target: ZooKeeperTarget, reactor: Any) -> None:
        self._target = target
        self._reactor = reactor
        self._server = ZooKeeperServer(reactor, data_dir=target.data_dir)
        self._port: IListeningPort | None = None

    def start(self) -> str:
        """Start the server; return its connection string.

        Raises:
            ConfigurationError: the data directory cannot be used.
        """
        self._server.start()
        try:
            self._port = self._listen(DEFAULT_PORT)
        except ConfigurationError:
            self._port = self._listen(0)
        hosts = listening_address(self._port)
        self._log.warn(
            "{why}: the embedded ZooKeeper runs in this process at {hosts}; its data is {where}; "
            "it is not an ensemble: name your own with --zookeeper",
            why="No --zookeeper was given" if self._target.assumed else "As asked for",
            hosts=hosts,
            where=f"in {self._target.data_dir}" if self._target.data_dir else "in memory only",
        )
        return hosts

    async def stop(self) -> None:
        """Close the port and all connections."""
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        await self._server.stop()

    def _listen(self, port: int) -> IListeningPort:
        return open_port(self._reactor, f"tcp:{port}:interface=127.0.0.1", self._server.factory)
