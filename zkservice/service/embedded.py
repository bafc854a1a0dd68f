"""What ``twistd zkembedded`` is made of: the embedded ZooKeeper by itself."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger, globalLogPublisher
from twisted.python.usage import UsageError
from typing_extensions import override

from zkservice.embedded import ZooKeeperServer
from zkservice.embedded.sasl import read_users
from zkservice.errors import ConfigurationError, StartError
from zkservice.service.loggers import escape_log_texts
from zkservice.service.ports import check_endpoint, listening_address, open_port
from zkservice.service.signals import take_signals_when_running
from zkservice.service.usage import CommandOptions

DEFAULT_ENDPOINT = "tcp:2181:interface=127.0.0.1"

__all__ = ["Options", "makeService"]


class Options(CommandOptions):
    """Command line of ``twistd zkembedded``."""

    synopsis = "[options]"
    longdesc = (
        "Run a ZooKeeper of one node in this process, for development, tests and small "
        "machines.  It is no ensemble: when the process is gone, so is the service."
    )
    optParameters: ClassVar[list[Any]] = [
        ["data-dir", "d", None, "Keep the data in this folder; without it, in memory."],
        ["tick-time", None, 2000, "Milliseconds; session time-outs are 2 to 20 ticks.", int],
        ["sasl-users", None, None, "A file of lines user:password, for SASL DIGEST-MD5."],
        ["super-digest", None, None, "super:HASH, the digest user whom no ACL binds."],
    ]

    sasl_users: dict[str, str] | None = None

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []

    def opt_listen(self, endpoint: str) -> None:
        """Listen at a Twisted server endpoint (repeatable) [default: tcp:2181 on loopback]."""
        try:
            self["listen"].append(check_endpoint(endpoint))
        except ConfigurationError as error:
            raise UsageError(f"--listen: {error}") from None

    opt_l = opt_listen

    def parseArgs(self, *words: str) -> None:  # noqa: N802
        """There is nothing to name."""
        if words:
            raise UsageError(f"zkembedded takes options only, not {words[0]!r}")

    @override
    def postOptions(self) -> None:
        if not self["listen"]:
            self["listen"].append(DEFAULT_ENDPOINT)
        if self["tick-time"] < 1:
            raise UsageError("--tick-time must be at least 1 (milliseconds)")
        digest = self["super-digest"]
        if digest is not None and not all(digest.partition(":")):
            raise UsageError("--super-digest is like super:BASE64, a user and a digest")
        self.sasl_users = None if self["sasl-users"] is None else _users(self["sasl-users"])
        if self["data-dir"] is not None:
            self["data-dir"] = os.path.abspath(self["data-dir"])


def _users(file: str) -> dict[str, str]:
    try:
        with open(file, encoding="utf-8") as lines:
            return read_users(lines.read())
    except OSError as error:
        raise UsageError(f"--sasl-users {file}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"--sasl-users {file}: {error}") from None


class EmbeddedService(Service):
    """The server and its ports, for as long as the service runs."""

    log = Logger()

    def __init__(self, server: ZooKeeperServer, endpoints: list[str], reactor: Any) -> None:
        self._server = server
        self._endpoints = endpoints
        self._reactor = reactor
        self._ports: list[IListeningPort] = []

    @override
    def privilegedStartService(self) -> None:
        """Open the ports, while low ones are still allowed."""
        super().privilegedStartService()
        escape_log_texts(globalLogPublisher)
        try:
            for endpoint in self._endpoints:
                self._ports.append(open_port(self._reactor, endpoint, self._server.factory))
        except ConfigurationError as error:
            raise StartError(f"zkembedded: {error}") from None

    @override
    def startService(self) -> None:
        """Begin to serve, as the user that the process is to run as; say where it is."""
        super().startService()
        try:
            self._server.start()
        except ConfigurationError as error:
            raise StartError(f"zkembedded: {error}") from None
        take_signals_when_running(self._reactor, lambda: None)
        for port in self._ports:
            self.log.info("ZooKeeper listens on {address}", address=listening_address(port))
        self.log.warn(
            "this is one ZooKeeper node in one process, not an ensemble: "
            "when this process is gone, so is the service"
        )

    @override
    def stopService(self) -> Deferred[None]:
        """Close the ports and hang up; sessions can be taken up again if there is a data-dir."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        ports, self._ports = self._ports, []
        for port in ports:
            stopped: Any = port.stopListening()
            if stopped is not None:
                await stopped
        await self._server.stop()


def makeService(options: Options) -> IService:
    """Assemble the service; nothing is opened before it starts."""
    from twisted.internet import reactor  # noqa: TID251 - twistd has installed the one to use

    at: Any = reactor
    server = ZooKeeperServer(
        at,
        tick_time=options["tick-time"] / 1000,
        data_dir=options["data-dir"],
        super_digest=options["super-digest"],
        sasl_users=options.sasl_users,
    )
    service: IService = EmbeddedService(server, options["listen"], reactor)
    return service
