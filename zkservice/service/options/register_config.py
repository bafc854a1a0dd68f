"""The configuration of ``twistd zkregister``: addresses, health checks and the command."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from twisted.internet.endpoints import quoteStringArgument

from zkservice.errors import ConfigurationError
from zkservice.formats.addresses import format_address, parse_address
from zkservice.service.config import Config, HealthSettings
from zkservice.service.options.option_table import Values
from zkservice.service.options.read_config import security_of, zookeeper_target

__all__ = [
    "STOP_SIGNALS",
    "HealthURL",
    "KnownAddresses",
    "RegisterConfig",
    "read_health_url",
    "register_config",
]


#: Signals that programs take as a request for a graceful stop.
STOP_SIGNALS: Final = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH),
)


class HealthURL(NamedTuple):
    """The parts of a health check's URL."""

    host: str
    port: int
    path: str


@dataclass(frozen=True)
class KnownAddresses:
    """The addresses of a program that listens by itself.

    Attributes:
        addresses: the addresses to register, each ``host:port``.
        tls: whether they speak TLS.
        health: the URL for health checks; None: connect to the first address.
    """

    addresses: tuple[str, ...]
    tls: bool = False
    health: HealthURL | None = None

    @property
    def tls_addresses(self) -> frozenset[str]:
        """All addresses, or none."""
        return frozenset(self.addresses if self.tls else ())

    def client_endpoint(self, *, plain: bool) -> str:
        """The endpoint string for health checks."""
        host, port = parse_address(self.addresses[0])
        if plain and self.health is not None:
            host, port = self.health.host, self.health.port
        return f"tcp:{quoteStringArgument(host)}:{port}"


@dataclass(frozen=True)
class RegisterConfig:
    """The configuration of ``twistd zkregister``.  Times are in seconds.

    Attributes:
        registration: where and what to register.
        known: the addresses.
        command: the program to run, and its arguments; empty: none.
        stop_timeout: how long the command may take to end.
        stop_signal: the signal that ends the command; None: the one that stops this process.
    """

    registration: Config
    known: KnownAddresses
    command: tuple[str, ...] = ()
    stop_timeout: float = 10.0
    stop_signal: signal.Signals | None = None


def read_health_url(text: str) -> HealthURL:
    """Split a URL.

    Raises:
        ConfigurationError: it is not ``http://HOST[:PORT][/PATH]``.
    """
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError as error:
        raise ConfigurationError(f"{text!r}: {error}") from None
    if url.scheme == "https":
        raise ConfigurationError(f"{text!r}: only http: can be checked; use --health-tcp for TLS")
    is_plain = text.isascii() and text.isprintable() and " " not in text
    if url.scheme != "http" or not host or not is_plain or "@" in url.netloc or port == 0:
        raise ConfigurationError(f"must be http://HOST[:PORT][/PATH], not {text!r}")
    query = f"?{url.query}" if url.query else ""
    return HealthURL(host, 80 if port is None else port, f"{url.path or '/'}{query}")


def register_config(
    values: Values, command: tuple[str, ...], environ: Mapping[str, str]
) -> RegisterConfig:
    """The configuration that the values describe; files with secrets are read now.

    Args:
        values: of `zkservice.service.options.register_options.OPTIONS`.
        command: the program to run, and its arguments; empty: none.
        environ: contains the variables that options name.

    Raises:
        ConfigurationError: something is missing, or two options contradict each other.
    """
    for name, what in (("path", "the znode under which to register"), ("address", "HOST:PORT")):
        if not values[name]:
            raise ConfigurationError(f"{values.spelled(name)} is missing: {what}")
    parts: dict[str, Any] = values.targets("")
    registration = Config(
        application="",
        listen=(),
        # The address may belong to another process.  For advertised addresses, a znode of another
        # session is not replaced.
        advertise=values["address"],
        zookeeper=zookeeper_target(values, environ),
        properties=dict(values["property"]),
        health=_health(values),
        security=security_of(values, environ),
        **parts,
    )
    known = KnownAddresses(values["address"], values["tls"], values["health-http"])
    stop = values["stop-signal"]
    return RegisterConfig(
        *(registration, known, command, values["stop-timeout"]),
        stop_signal=None if stop is None else signal.Signals[f"SIG{stop}"],
    )


def _health(values: Values) -> HealthSettings | None:
    url: HealthURL | None = values["health-http"]
    if url is not None and values["health-tcp"]:
        raise ConfigurationError(
            f"give either {values.spelled('health-http')} or {values.spelled('health-tcp')}"
        )
    settings = values.targets("health")
    if url is not None:
        host = format_address(url.host, url.port)
        return HealthSettings(path=url.path, host=host, **settings)
    return HealthSettings(path=None, **settings) if values["health-tcp"] else None
