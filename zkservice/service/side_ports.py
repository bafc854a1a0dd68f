"""The ports beside the served one: the monitor's and the manhole's."""

from __future__ import annotations

from collections.abc import Mapping
from getpass import getuser
from typing import Any

from twisted.conch.ssh.keys import BadKeyError
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger

from zkservice.errors import ConfigurationError
from zkservice.monitor import Command, MonitorFactory
from zkservice.registry import advertised_addresses
from zkservice.service.config import Manhole
from zkservice.service.listening import endpoint_of, listening_address, open_port


class SidePorts:
    """Opens them, and closes them all."""

    _log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ports: list[IListeningPort] = []

    def open_monitor(self, address: str, commands: Mapping[str, Command]) -> str:
        """Open the line protocol; answers its address as others must write it."""
        where = self._open(address, MonitorFactory(commands))
        self._log.info("The monitor listens at {where}", where=where)
        return where

    def open_manhole(self, manhole: Manhole, namespace: Mapping[str, Any]) -> None:
        """Open a Python prompt that knows the namespace."""
        where = self._open(manhole.address, _manhole_factory(manhole, namespace))
        self._log.warn("A manhole is open at {where}", where=where)

    async def close(self) -> None:
        """Close all of them."""
        ports, self._ports = self._ports, []
        for port in ports:
            await maybeDeferred(port.stopListening)

    def _open(self, address: str, factory: IProtocolFactory) -> str:
        port = open_port(self._reactor, endpoint_of(address), factory)
        self._ports.append(port)
        where: Any = port.getHost()
        if isinstance(where, (IPv4Address, IPv6Address)):
            return advertised_addresses(where.host, where.port)[0]
        return listening_address(port)


def _manhole_factory(manhole: Manhole, namespace: Mapping[str, Any]) -> IProtocolFactory:
    # Conch is slow to import, and few want it.
    from zkservice.monitor.manhole import ssh_manhole, telnet_manhole

    if manhole.authorized_keys is None:
        return telnet_manhole(namespace)
    try:
        with open(manhole.authorized_keys, "rb") as file:
            keys = file.read().splitlines()
        return ssh_manhole(
            namespace, authorized_keys=keys, user=getuser(), host_key=manhole.host_key
        )
    except (OSError, ValueError, BadKeyError) as error:
        raise ConfigurationError(f"the SSH manhole cannot be opened: {error}") from None
