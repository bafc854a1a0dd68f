"""The service of ``twistd zkembedded``: the embedded ZooKeeper by itself."""

from __future__ import annotations

import signal
from typing import Any, Final

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger, globalLogPublisher
from twisted.python.usage import UsageError
from typing_extensions import override

from zkservice.embedded import ZooKeeperServer
from zkservice.embedded.sasl import read_users
from zkservice.errors import ConfigurationError, StartError
from zkservice.service.options.option_table import (
    FILE,
    Kind,
    Option,
    OptionTable,
    checked,
    milliseconds,
    whole_number,
)
from zkservice.service.options.twistd_options import TableOptions, config_row
from zkservice.service.ports.endpoint_strings import Ports, check_endpoint, listening_address
from zkservice.service.process.loggers import escape_log_texts, reopen_log_files
from zkservice.service.process.signals import take_signals_when_running

DEFAULT_ENDPOINT = "tcp:2181:interface=127.0.0.1"

__all__ = ["Options", "makeService"]


_SECTION: Final = "Options"


def _read_super_digest(text: str) -> str:
    if not all(text.partition(":")):
        raise ConfigurationError("must be like super:BASE64, a user and a digest")
    return text


def _read_sasl_users(file: str) -> dict[str, str]:
    try:
        with open(file, encoding="utf-8") as lines:
            return read_users(lines.read())
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{file}: {error}") from None


OPTIONS: Final = OptionTable(
    (
        Option(
            "listen",
            _SECTION,
            "Listen at a Twisted server endpoint.",
            checked(check_endpoint, "ENDPOINT"),
            (DEFAULT_ENDPOINT,),
            short="l",
            repeatable=True,
            default_text="tcp:2181 on loopback",
            manual=(
                "any `Twisted server endpoint "
                "<https://docs.twisted.org/en/stable/core/howto/endpoints.html#servers>`_.  "
                "Every client that can connect may do what the ACLs allow; ``ssl:`` and ``mtls:`` "
                "endpoints work, too"
            ),
            example="tcp:2181:interface=127.0.0.1",
        ),
        Option(
            "data-dir",
            _SECTION,
            "Keep the data in this directory; without it, in memory.",
            FILE,
            short="d",
            example="/var/lib/zookeeper",
        ),
        Option(
            "tick-time",
            _SECTION,
            "Milliseconds of a tick; session time-outs are 2 to 20 ticks.",
            milliseconds(1),
            2.0,
        ),
        Option(
            "sasl-users",
            _SECTION,
            "A file of lines user:password, for SASL DIGEST-MD5.",
            Kind(_read_sasl_users, "FILE"),
            manual="a file of lines ``user:password``, for SASL DIGEST-MD5",
            example="/etc/zookeeper/users",
        ),
        Option(
            "super-digest",
            _SECTION,
            "super:HASH, the digest user that no ACL restricts.",
            Kind(_read_super_digest, "USER:DIGEST"),
            manual=(
                "``super:HASH``, the digest user that no ACL restricts, as in "
                "``zookeeper.DigestAuthenticationProvider.superDigest``"
            ),
            example="super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
        ),
        Option(
            "max-connections",
            _SECTION,
            "Connections from one address; 0 for any number.",
            whole_number(),
            0,
            manual=(
                "connections from one address, as ``maxClientCnxns`` of Apache's server, whose "
                "default is 60; one more is closed at once"
            ),
        ),
        Option(
            "max-sessions",
            _SECTION,
            "Sessions; 0 for any number.",
            whole_number(),
            10_000,
            manual="sessions, with and without a connection; a new client is refused then",
        ),
        Option(
            "max-watches",
            _SECTION,
            "Watches of one connection; 0 for any number.",
            whole_number(),
            100_000,
            manual="watches of one connection; the request for one more fails with QuotaExceeded",
        ),
        config_row(_SECTION, "ZKEMBEDDED_"),
    )
)


class Options(TableOptions):
    """Command line of ``twistd zkembedded``."""

    synopsis = "[options]"
    longdesc = (
        "Run a ZooKeeper of one node in this process, for development, tests and small "
        "machines.  It is not an ensemble: when the process ends, the service ends."
    )
    table = OPTIONS
    variables = "ZKEMBEDDED_"

    def parseArgs(self, *words: str) -> None:  # noqa: N802
        """Refuse arguments."""
        if words:
            raise UsageError(f"zkembedded takes options only, not {words[0]!r}")


class EmbeddedService(Service):
    """Runs the server and its ports."""

    log = Logger()

    def __init__(self, server: ZooKeeperServer, endpoints: list[str], reactor: Any) -> None:
        self._server = server
        self._endpoints = endpoints
        self._reactor = reactor
        self._opener = Ports(reactor)
        self._ports: list[IListeningPort] = []

    @override
    def privilegedStartService(self) -> None:
        """Open the ports, while low ones are still allowed."""
        super().privilegedStartService()
        escape_log_texts(globalLogPublisher)
        try:
            for endpoint in self._endpoints:
                self._ports.append(self._opener.open(endpoint, self._server.factory))
        except ConfigurationError as error:
            raise StartError(f"zkembedded: {error}") from None

    @override
    def startService(self) -> None:
        """Start to serve, after the process has changed its user; log the addresses."""
        super().startService()
        try:
            self._server.start()
        except ConfigurationError as error:
            raise StartError(f"zkembedded: {error}") from None
        take_signals_when_running(self._reactor, lambda: None, {signal.SIGHUP: self._reopen})
        for port in self._ports:
            self.log.info("ZooKeeper listens on {address}", address=listening_address(port))
        self.log.warn(
            "this is one ZooKeeper node in one process, not an ensemble: "
            "when this process ends, the service ends"
        )

    @override
    def stopService(self) -> Deferred[None]:
        """Close the ports and all connections; with a data-dir, sessions can be resumed."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def _reopen(self) -> None:
        """Open the log file and read the certificates again, at SIGHUP."""
        reopen_log_files(globalLogPublisher)
        self._opener.reload_certificates()

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
    values = options.values_read
    server = ZooKeeperServer(
        at,
        tick_time=values["tick-time"],
        data_dir=values["data-dir"],
        super_digest=values["super-digest"],
        sasl_users=values["sasl-users"],
        max_connections=values["max-connections"],
        max_sessions=values["max-sessions"],
        max_watches=values["max-watches"],
    )
    for warning in options.sources.warnings:
        EmbeddedService.log.warn("{warning}", warning=warning)
    service: IService = EmbeddedService(server, list(values["listen"]), reactor)
    return service
