"""The command line of ``twistd zkserve``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from twisted.python.usage import UsageError
from typing_extensions import override

from zkservice.errors import (
    AddressError,
    ConfigurationError,
    InvalidHostsError,
    InvalidPathError,
)
from zkservice.registry import PAYLOADS, parse_address
from zkservice.service.application import absolute_spec
from zkservice.service.commands import command_pair
from zkservice.service.config import Config, Listen, Manhole, ZooKeeperAt
from zkservice.service.front_end import FrontEnd
from zkservice.service.health import HealthSettings
from zkservice.service.limits import limit_parameters, limits_from
from zkservice.service.listening import check_endpoint
from zkservice.service.ports import Owner, socket_owner
from zkservice.service.readiness import READY
from zkservice.service.security import TLS, Security, identity, parse_acl, sasl_user
from zkservice.service.topics import TOPICS
from zkservice.service.usage import CommandOptions
from zkservice.web import TrustedProxies
from zkservice.wire.hosts import parse_hosts
from zkservice.wire.paths import validate

T = TypeVar("T")

#: Where zc.zk's users keep their connection string.
CONNECTION_STRING = "ZC_ZK_CONNECTION_STRING"


class Options(CommandOptions):
    """What a user may say; `config` answers what it means."""

    synopsis = "[options] --path PATH APP"
    longdesc = (
        "Serve a WSGI application and keep its address in ZooKeeper.  APP is a .wsgi file "
        "with a global named 'application', 'module:callable', or 'config:deploy.ini#name'."
    )

    topics = TOPICS

    optParameters: ClassVar[list[Any]] = [
        ["path", "p", None, "The znode under which to register; required."],
        [
            "zookeeper",
            "z",
            None,
            "HOST:PORT,.../CHROOT, or 'embedded', or 'embedded:FOLDER' to keep its data.  "
            f"[default: ${CONNECTION_STRING}, else embedded]",
        ],
        ["host", None, "", "The address to listen on and to register; blank: all of them."],
        ["port", None, 0, "The port; 0: the system picks one.", int],
        ["socket-owner", None, None, "USER, USER:GROUP or :GROUP that gets unix: sockets."],
        ["zookeeper-ca", None, None, "PEM file of the CAs that ZooKeeper's TLS may be signed by."],
        ["zookeeper-cert", None, None, "PEM file of our certificate, and its key."],
        ["zookeeper-key", None, None, "PEM file of the key, if it is not in the same file."],
        ["zookeeper-server-name", None, None, "The name in ZooKeeper's certificate."],
        ["zookeeper-sasl", None, None, "FILE or env:VARIABLE with user:password for DIGEST-MD5."],
        ["acl", None, "read", "ACL of the znode: read, open, creator or scheme:id:perms,..."],
        ["format", None, "properties", "What to store: properties, serverset or curator."],
        ["health", None, None, "Register only while this HTTP path answers 2xx or 3xx."],
        ["health-interval", None, 2_000, "Milliseconds between two health checks.", int],
        ["health-timeout", None, 1_000, "Milliseconds that an answer may take.", int],
        ["health-rise", None, 2, "Good answers in a row that bring the address back.", int],
        ["health-fall", None, 3, "Bad answers in a row that take the address away.", int],
        ["threads", "t", 4, "Worker threads for the application.", int],
        ["session-timeout", None, 10_000, "Milliseconds before a silent process is out.", int],
        [
            "monitor",
            "m",
            None,
            "[HOST]:PORT or a socket's path for the line protocol; without HOST on loopback.",
        ],
        ["manhole", None, None, "HOST:PORT or a socket's path for a Python prompt (telnet)."],
        ["manhole-keys", None, None, "Make it SSH, for the public keys in this file."],
        ["manhole-host-key", None, "zkserve_host_key", "Its own key; made if it is missing."],
        ["access-log", None, None, "A file for a line about each response; - is stdout."],
        ["access-log-format", None, "combined", "combined or json."],
        ["trace-log", None, None, "A file for zc.zservertracelog's records; - is stdout."],
        ["proxy-hops", None, 1, "How many trusted proxies a request comes through.", int],
        ["loggers", None, None, "Configure logging: a level, or a file with ZConfig text."],
        ["drain-wait", None, 500, "Milliseconds to serve on after deregistering.", int],
        ["drain-timeout", None, 30_000, "Milliseconds for running requests to finish.", int],
        *limit_parameters(),
    ]

    optFlags: ClassVar[list[Any]] = [
        ["status-views", None, "Answer /-/health, /-/ready and /-/threads in the reactor."],
        ["metrics", None, "Answer /-/metrics for Prometheus; needs zkservice[metrics]."],
        ["zookeeper-tls", None, "Connect to ZooKeeper with TLS."],
        ["health-tcp", None, "Register only while a TCP connection can be made."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["advertise"] = []
        self["properties"] = {}
        self["identities"] = []
        self["views"] = []
        self["monitor-commands"] = []
        self["proxies"] = []
        self["proxy-headers"] = []

    def opt_listen(self, endpoint: str) -> None:
        """Listen at a Twisted server endpoint (repeatable), instead of --host and --port."""
        self["listen"].append(_checked("--listen", check_endpoint, endpoint))

    def opt_advertise(self, address: str) -> None:
        """Register HOST:PORT (repeatable) instead of the addresses that are listened on."""
        host, _, port = _checked("--advertise", parse_address, address).rpartition(":")
        if not host or "/" in host or int(port) == 0:
            raise UsageError(f"--advertise {address!r}: name a host and a port that it has")
        self["advertise"].append(address)

    def opt_property(self, pair: str) -> None:
        """Store NAME=VALUE (repeatable) with the address: a string; NAME:=JSON: any value."""
        name, equals, value = pair.partition("=")
        typed = name.endswith(":")
        name = name.removesuffix(":").strip()
        if not equals or not name:
            raise UsageError(f"--property {pair!r}: write NAME=VALUE or NAME:=JSON")
        self["properties"][name] = _json(pair, value) if typed else value

    def opt_zookeeper_auth(self, identity_text: str) -> None:
        """Be SCHEME:FILE (repeatable), such as digest:FILE; or SCHEME:env:VARIABLE."""
        found = _read("--zookeeper-auth", identity, identity_text, os.environ)
        self["identities"].append(found)

    def opt_view(self, pair: str) -> None:
        """/PATH=DOTTED.NAME (repeatable): a WSGI callable that answers in the reactor."""
        path, equals, name = pair.partition("=")
        if not equals or not name or not path.startswith("/") or not path.isascii():
            raise UsageError(f"--view {pair!r}: write /PATH=DOTTED.NAME")
        if any(character in "?#" or character.isspace() for character in path):
            raise UsageError(
                f"--view {pair!r}: no request's path has a blank, '?' or '#'; write %20"
            )
        if path in dict(self["views"]):
            raise UsageError(f"--view {pair!r}: {path} is {dict(self['views'])[path]} already")
        self["views"].append((path, name))

    def opt_monitor_command(self, pair: str) -> None:
        """NAME=DOTTED.NAME (repeatable): one more command of the monitor."""
        _checked("--monitor-command", command_pair, pair)
        self["monitor-commands"].append(command_pair(pair))

    def opt_trusted_proxy(self, network: str) -> None:
        """CIDR (repeatable) of proxies whose X-Forwarded-* headers are believed."""
        try:
            TrustedProxies([network])
        except ValueError as error:
            raise UsageError(f"--trusted-proxy: {error}") from None
        self["proxies"].append(network)

    def opt_proxy_header(self, name: str) -> None:
        """NAME (repeatable) that the proxies set, instead of X-Forwarded-For and -Proto."""
        self["proxy-headers"].append(name.lower())

    def parseArgs(self, *words: str) -> None:  # noqa: N802
        """Take the application."""
        if not words:
            raise UsageError(
                "APP is missing: a .wsgi file, module:callable, or config:deploy.ini#name"
            )
        if misplaced := [word for word in words if word.startswith("-")]:
            raise UsageError(f"options go before the application: {misplaced[0]}")
        if len(words) > 1:
            raise UsageError(f"one application, not several: {' '.join(words)}")
        self["application"] = words[0]

    @override
    def postOptions(self) -> None:
        """Refuse what cannot be done, before anything starts."""
        self["config"] = self._config()

    @property
    def config(self) -> Config:
        """What was asked for."""
        config: Config = self["config"]
        return config

    def _config(self) -> Config:
        if self["path"] is None:
            raise UsageError("--path is missing: the znode under which to register the address")
        for name in _POSITIVE:
            if self[name] < 1:
                raise UsageError(f"--{name} must be at least 1, not {self[name]}")
        if self["session-timeout"] > _MAX_INT:
            raise UsageError(f"--session-timeout is {_MAX_INT} milliseconds at most")
        for name in ("drain-wait", "drain-timeout"):
            if self[name] < 0:
                raise UsageError(f"--{name} must not be negative, as {self[name]} is")
        return Config(
            application=absolute_spec(self["application"]),
            path=_checked("--path", validate, self["path"]),
            zookeeper=self._zookeeper(),
            listen=self._listen(),
            advertise=tuple(self["advertise"]),
            socket_owner=self._socket_owner(),
            properties=dict(self["properties"]),
            payload=self._payload(),
            health=self._health(),
            security=self._security(),
            front_end=self._front_end(),
            threads=self["threads"],
            session_timeout=self["session-timeout"] / 1000,
            monitor=self._side_port("monitor"),
            monitor_commands=self._monitor_commands(),
            loggers=_file_path(self["loggers"] or ""),
            manhole=self._manhole(),
            drain_wait=self["drain-wait"] / 1000,
            drain_timeout=self["drain-timeout"] / 1000,
        )

    def _zookeeper(self) -> ZooKeeperAt:
        given = self["zookeeper"] or os.environ.get(CONNECTION_STRING)
        if not given:
            return ZooKeeperAt(None, assumed=True)
        kind, colon, folder = given.partition(":")
        if kind == "embedded":
            if colon and not folder:
                raise UsageError(
                    "--zookeeper embedded: names no folder; without the colon it needs none"
                )
            return ZooKeeperAt(None, os.path.abspath(folder) if colon else None)
        name = "--zookeeper" if self["zookeeper"] else CONNECTION_STRING
        _checked(name, parse_hosts, given)
        return ZooKeeperAt(given)

    def _listen(self) -> tuple[Listen, ...]:
        if not 0 <= self["port"] <= 65535:
            raise UsageError(f"--port must be from 0 to 65535, not {self['port']}")
        if not self["listen"]:
            return (Listen.tcp(self["host"], self["port"]),)
        if self["host"] or self["port"]:
            raise UsageError("give either --listen or --host and --port")
        return tuple(Listen(endpoint) for endpoint in self["listen"])

    def _socket_owner(self) -> Owner | None:
        given = self["socket-owner"]
        if given is None:
            return None
        if not any("unix:" in endpoint for endpoint in self["listen"]):
            raise UsageError("--socket-owner needs --listen unix:...")
        try:
            return socket_owner(given)
        except ConfigurationError as error:
            raise UsageError(f"--socket-owner: {error}") from None

    def _payload(self) -> str:
        if self["format"] not in PAYLOADS:
            known = ", ".join(PAYLOADS)
            raise UsageError(f"--format {self['format']!r} is not known; there are {known}")
        return str(self["format"])

    def _health(self) -> HealthSettings | None:
        path = self["health"]
        if path is None and not self["health-tcp"]:
            return None
        if path is not None:
            if self["health-tcp"]:
                raise UsageError("give either --health or --health-tcp")
            if not re.fullmatch(r"/[!-~]*", path):
                raise UsageError(f"--health {path!r} is no HTTP path; it begins with a slash")
            if path.partition("?")[0] == READY:
                raise UsageError(f"--health {READY} would wait for itself: name another path")
        return HealthSettings(
            path,
            interval=self["health-interval"] / 1000,
            timeout=self["health-timeout"] / 1000,
            rise=self["health-rise"],
            fall=self["health-fall"],
        )

    def _security(self) -> Security:
        files = ("zookeeper-ca", "zookeeper-cert", "zookeeper-key", "zookeeper-server-name")
        tls = TLS(*(self[name] for name in files)) if self["zookeeper-tls"] else None
        if tls is None and any(self[name] for name in files):
            raise UsageError("--zookeeper-ca and the like need --zookeeper-tls")
        sasl = self["zookeeper-sasl"]
        return Security(
            # Now: the files may be root's alone, which the process is no longer later.
            None if tls is None else _read("--zookeeper-tls", tls.creator),
            tuple(self["identities"]),
            None if sasl is None else _read("--zookeeper-sasl", sasl_user, sasl, os.environ),
            _read("--acl", parse_acl, self["acl"]),
        )

    def _front_end(self) -> FrontEnd:
        try:
            proxies = TrustedProxies(
                self["proxies"],
                self["proxy-hops"],
                self["proxy-headers"] or ("x-forwarded-for", "x-forwarded-proto"),
            )
            limits = limits_from(self)
        except ValueError as error:
            raise UsageError(str(error)) from None
        if self["access-log-format"] not in ("combined", "json"):
            raise UsageError("--access-log-format is combined or json")
        return FrontEnd(
            limits,
            tuple(self["views"]),
            bool(self["status-views"]),
            bool(self["metrics"]),
            proxies if self["proxies"] else None,
            _log_path(self["access-log"]),
            self["access-log-format"],
            _log_path(self["trace-log"]),
        )

    def _side_port(self, name: str) -> str | None:
        given = self[name]
        if given is None or "/" in given:
            return None if given is None else os.path.abspath(given)
        _checked(f"--{name}", parse_address, given)
        return str(given)

    def _monitor_commands(self) -> tuple[tuple[str, str], ...]:
        if self["monitor-commands"] and self["monitor"] is None:
            raise UsageError("--monitor-command needs --monitor")
        return tuple(self["monitor-commands"])

    def _manhole(self) -> Manhole | None:
        address, keys = self._side_port("manhole"), self["manhole-keys"]
        if address is None:
            if keys is not None:
                raise UsageError("--manhole-keys needs --manhole")
            return None
        return Manhole(
            address,
            None if keys is None else os.path.abspath(keys),
            os.path.abspath(self["manhole-host-key"]),
        )


#: What fits into the handshake with ZooKeeper.
_MAX_INT = 2**31 - 1
_POSITIVE = (
    "threads",
    "session-timeout",
    "health-interval",
    "health-timeout",
    "health-rise",
    "health-fall",
    "proxy-hops",
)


def _file_path(text: str) -> str:
    """The same file after a change of directory; what is no file stays."""
    return os.path.abspath(text) if os.path.isfile(text) else text


def _log_path(path: str | None) -> str | None:
    return path if path is None or path == "-" else os.path.abspath(path)


def _checked(name: str, check: Any, value: str) -> str:
    _read(name, check, value)
    return value


def _read(name: str, read: Callable[..., T], *given: Any) -> T:
    """What an option means, or its name before what is wrong with it."""
    try:
        return read(*given)
    except (ConfigurationError, InvalidPathError, InvalidHostsError, AddressError) as error:
        raise UsageError(f"{name}: {error}") from None


def _json(pair: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"--property {pair!r}: the value is no JSON: {error}") from None
