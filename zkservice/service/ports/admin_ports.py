"""The ports for operators: the monitor's, the manhole's and those of the built-in views."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from typing import Any

from twisted.conch.ssh.keys import BadKeyError
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger

from zkservice.errors import ConfigurationError
from zkservice.monitor import Command, MonitorFactory, utility_commands
from zkservice.registry import advertised_addresses
from zkservice.service.config import Manhole
from zkservice.service.ports.endpoint_strings import Ports
from zkservice.service.ports.inheritance import InheritedSockets
from zkservice.service.ports.listening import endpoint_of, listening_address
from zkservice.web import HTTPFactory


class AdminPorts:
    """Opens the ports for operators, and closes them together."""

    _log = Logger()

    def __init__(self, reactor: Any, inherited: InheritedSockets | None = None) -> None:
        self.opener = Ports(reactor, inherited)
        self._reactor = reactor
        self._ports: list[IListeningPort] = []
        self._factories: list[HTTPFactory] = []

    def open_monitor(self, address: str, commands: Mapping[str, Command]) -> str:
        """Open the monitor; return its address as clients must write it."""
        where = self._open(address, MonitorFactory(commands, plugins=utility_commands))
        self._log.info("The monitor listens at {where}", where=where)
        return where

    def open_views(self, endpoint: str, factory: HTTPFactory) -> None:
        """Open a port for the built-in views."""
        port = self.opener.open(endpoint, factory)
        self._ports.append(port)
        self._factories.append(factory)
        self._log.info("The views of /-/ are at {where}", where=listening_address(port))

    def open_manhole(self, manhole: Manhole, namespace: Mapping[str, Any]) -> None:
        """Open a Python prompt with these names."""
        user = process_user()
        factory = _manhole_factory(manhole, namespace, user, self._reactor)
        where = self._open(manhole.address, factory)
        self._log.warn(
            "A manhole is open at {where}, {how}", where=where, how=_how_to_log_in(manhole, user)
        )

    async def close(self) -> None:
        """Close all of them."""
        ports, self._ports = self._ports, []
        for port in ports:
            await maybeDeferred(port.stopListening)
        for factory in self._factories:
            await factory.drain(0)

    def _open(self, address: str, factory: IProtocolFactory) -> str:
        port = self.opener.open(endpoint_of(address), factory)
        self._ports.append(port)
        where: Any = port.getHost()
        if isinstance(where, (IPv4Address, IPv6Address)):
            return advertised_addresses(where.host, where.port)[0]
        return listening_address(port)


def process_user() -> str:
    """The name of the user as which the process runs, or its number if it has no name."""
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # as in a container
        return str(number)


def _manhole_factory(
    manhole: Manhole, namespace: Mapping[str, Any], user: str, reactor: Any
) -> IProtocolFactory:
    # Conch is slow to import, and few services have a manhole.
    from zkservice.monitor.manhole import read_token, ssh_manhole, telnet_manhole

    try:
        if manhole.authorized_keys is not None:
            with open(manhole.authorized_keys, "rb") as file:
                keys = file.read().splitlines()
            return ssh_manhole(
                namespace,
                authorized_keys=keys,
                user=user,
                host_key=manhole.host_key,
                clock=reactor,
            )
        # A Unix socket is protected by the permissions of its file.
        token = None if _is_socket(manhole) else read_token(manhole.token_file)
        return telnet_manhole(namespace, token=token, clock=reactor)
    except (OSError, ValueError, BadKeyError) as error:
        raise ConfigurationError(f"the manhole cannot be opened: {error}") from None


def _is_socket(manhole: Manhole) -> bool:
    return "/" in manhole.address


def _how_to_log_in(manhole: Manhole, user: str) -> str:
    if manhole.authorized_keys is not None:
        return f"SSH, for the user {user} and the keys in {manhole.authorized_keys}"
    if _is_socket(manhole):
        return f"for the user {user}"
    return f"telnet, with the token in {manhole.token_file}"
