"""The ports of an application, and their addresses for others."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from zkservice.errors import ConfigurationError
from zkservice.service.config import Config
from zkservice.service.ports.endpoint_strings import Ports, give_socket
from zkservice.service.ports.inheritance import InheritedSockets
from zkservice.service.ports.listening import NO_ADDRESS, addresses_of, client_endpoint_of

__all__ = ["Listeners"]


class Listeners:
    """Opens the ports of a configuration.

    Args:
        config: the endpoints and the addresses to register.
        reactor: opens the ports.
        inherited: sockets that the previous program has passed on.

    Attributes:
        ports: the open ports, in the order of the configuration.
        opener: pauses, resumes and hands over the ports.
    """

    def __init__(
        self, config: Config, reactor: Any, inherited: InheritedSockets | None = None
    ) -> None:
        self.ports: list[IListeningPort] = []
        self.opener = Ports(reactor, inherited)
        self._config = config

    def open(self, factory: IProtocolFactory) -> None:
        """Open the ports unless they are open.

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
        """The addresses to register.

        Raises:
            ConfigurationError: no port has an address that others can connect to.
        """
        found = self._config.advertise or tuple(
            dict.fromkeys(
                address for listen, port in self._pairs() for address in addresses_of(listen, port)
            )
        )
        if not found:
            raise ConfigurationError(NO_ADDRESS)
        return found

    @property
    def tls_addresses(self) -> frozenset[str]:
        """The registered addresses that speak TLS.

        Advertised addresses count as TLS if all ports speak TLS.
        """
        tls = [(listen, port) for listen, port in self._pairs() if listen.tls]
        if self._config.advertise:
            return frozenset(self.addresses if len(tls) == len(self.ports) else ())
        return frozenset(address for listen, port in tls for address in addresses_of(listen, port))

    def client_endpoint(self, *, plain: bool) -> str:
        """The endpoint string with which this process reaches itself.

        Args:
            plain: whether it must speak plain HTTP.
        """
        return client_endpoint_of(self._pairs(), plain=plain)

    def reload_certificates(self) -> None:
        """Read the files of TLS ports again, for connections that come from now on."""
        self.opener.reload_certificates()

    def _pairs(self) -> list[Any]:
        return list(zip(self._config.listen, self.ports, strict=True))
