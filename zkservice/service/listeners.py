"""The ports that an application is served on, and what they are called from outside."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from zkservice.errors import ConfigurationError
from zkservice.service.config import Config
from zkservice.service.inheritance import InheritedSockets
from zkservice.service.listening import addresses_of, client_endpoint_of
from zkservice.service.ports import Ports, give_socket

__all__ = ["Listeners"]


class Listeners:
    """Opens the ports of a configuration; all of them, or none.

    Args:
        inherited: sockets of the program before, which are listened on instead of new ones.

    Attributes:
        ports: those that are open, in the order of the configuration.
        opener: what has opened them.
    """

    def __init__(
        self, config: Config, reactor: Any, inherited: InheritedSockets | None = None
    ) -> None:
        self.ports: list[IListeningPort] = []
        self.opener = Ports(reactor, inherited)
        self._config = config

    def open(self, factory: IProtocolFactory) -> None:
        """Listen, if that is not done already.

        Raises:
            ConfigurationError: a port cannot be opened.
        """
        if self.ports:
            return
        for listen in self._config.listen:
            port = self.opener.open(listen.endpoint, factory)
            self.ports.append(port)
            if self._config.socket_owner is not None:
                give_socket(port, self._config.socket_owner)

    @property
    def addresses(self) -> tuple[str, ...]:
        """What is registered.

        Raises:
            ConfigurationError: nothing that is listened on can be reached from outside.
        """
        found = self._config.advertise or tuple(
            dict.fromkeys(
                address for listen, port in self._pairs() for address in addresses_of(listen, port)
            )
        )
        if not found:
            raise ConfigurationError(
                "nothing that is listened on has an address that others can connect to; "
                "say with --advertise HOST:PORT what to register"
            )
        return found

    @property
    def tls_addresses(self) -> frozenset[str]:
        """The registered addresses that speak TLS; advertised ones if all that listens does."""
        tls = [(listen, port) for listen, port in self._pairs() if listen.tls]
        if self._config.advertise:
            return frozenset(self.addresses if len(tls) == len(self.ports) else ())
        return frozenset(address for listen, port in tls for address in addresses_of(listen, port))

    def client_endpoint(self, *, plain: bool) -> str:
        """The endpoint string with which this process reaches itself.

        Args:
            plain: it must speak plain HTTP.
        """
        return client_endpoint_of(self._pairs(), plain=plain)

    def reload_certificates(self) -> None:
        """Read the files of TLS ports again, for connections that come from now on."""
        self.opener.reload_certificates()

    def _pairs(self) -> list[Any]:
        return list(zip(self._config.listen, self.ports, strict=True))
