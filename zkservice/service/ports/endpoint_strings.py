"""Ports from endpoint strings: checks, opening, and addresses for messages."""

from __future__ import annotations

import errno
import grp
import os
import pwd
from collections.abc import Callable
from typing import Any, Final

from OpenSSL import SSL, crypto
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorCore

from zkservice.errors import ConfigurationError
from zkservice.privates import close_without_shutdown
from zkservice.service.config import Owner
from zkservice.service.ports.binding import PortOpener
from zkservice.service.ports.inheritance import InheritedSockets
from zkservice.service.ports.unix_port import UNIXPort, change_owner
from zkservice.wire.hosts import Address

_BAD_PEM: Final = "the key or certificate in its files is not valid PEM"


def check_endpoint(text: str) -> str:
    """Return a text if it is a valid Twisted server endpoint string.

    Raises:
        ConfigurationError: it is invalid, or a file that it names cannot be used.
    """
    try:
        # Parsing does not use the reactor, so any object will do.
        serverFromString(IReactorCore, text)
    except Exception as error:  # noqa: BLE001 - endpoints are plugins, and raise what they like
        raise ConfigurationError(_problem(text, error)) from None
    return text


def _problem(text: str, error: Exception) -> str:
    return _file_problem(text, error) or (
        f"{text!r} is not a Twisted server endpoint such as "
        f"'tcp:8080:interface=127.0.0.1': {str(error) or type(error).__name__}"
    )


def _reload_problem(text: str, error: Exception) -> str:
    """What is wrong with an endpoint whose files were read again."""
    problem = _file_problem(text, error)
    return problem or f"{text!r} cannot be used: {str(error) or type(error).__name__}"


def _file_problem(text: str, error: Exception) -> str | None:
    if isinstance(error, OSError) and error.filename:
        return f"{text!r} cannot be used: {error.filename}: {error.strerror}"
    if isinstance(error, (SSL.Error, crypto.Error)):
        return f"{text!r} cannot be used: {_BAD_PEM}, or the key is not the certificate's"
    if isinstance(error, ConfigurationError):  # the message is for users already
        return f"{text!r} cannot be used: {error}"
    if text.startswith("systemd:") and isinstance(error, LookupError):
        return (
            f"{text!r} cannot be used: systemd has passed no such socket; see the socket unit, or "
            "give systemd-socket-activate a --fdname"
        )
    return None


def open_port(reactor: Any, endpoint: str, factory: IProtocolFactory) -> IListeningPort:
    """Listen now.

    Raises:
        ConfigurationError: with the reason, and what to do about it.
    """
    return Ports(reactor).open(endpoint, factory)


class Ports:
    """Opens ports; its errors are one line for the user.

    Args:
        reactor: opens the ports.
        inherited: sockets that the previous program has passed on.
    """

    def __init__(self, reactor: Any, inherited: InheritedSockets | None = None) -> None:
        self._opener = PortOpener(reactor)
        self._inherited = inherited or InheritedSockets()
        self._opened: list[tuple[str, Any]] = []
        #: Whether another program has taken over the sockets for good.
        self.handed_over = False

    def open(self, endpoint: str, factory: IProtocolFactory) -> IListeningPort:
        """Listen now.

        Raises:
            ConfigurationError: with the reason, and what to do about it.
        """
        try:
            port = self._opener.open(endpoint, factory, self._inherited.take(endpoint))
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - endpoints are plugins, and raise what they like
            raise ConfigurationError(
                f"cannot listen at {endpoint}: {_reason(endpoint, error)}"
            ) from None
        self._opened.append((endpoint, port))
        return port

    def sockets(self) -> list[tuple[str, int]]:
        """Endpoint strings, and the descriptors of the sockets that listen there."""
        return [(endpoint, port.fileno()) for endpoint, port in self._opened]

    def share(self) -> None:
        """Allow another program to use the sockets: closing a port here leaves them open there."""
        for _, port in self._opened:
            close_without_shutdown(port)

    def hand_over(self) -> None:
        """Leave the sockets, and the files of Unix sockets, to another program."""
        self.handed_over = True
        for _, port in self._opened:
            if isinstance(port, UNIXPort):
                port.owns_file = False

    def take_over(self) -> None:
        """Own the files of inherited Unix sockets, except for those of systemd."""
        for endpoint, port in self._opened:
            if isinstance(port, UNIXPort) and "systemd:" not in endpoint and not port.owns_file:
                port.own_file()

    def pause(self) -> None:
        """Stop accepting: connections wait in the kernel, or another program accepts them."""
        for _, port in self._opened:
            port.stopReading()

    def resume(self) -> None:
        """Accept again."""
        for _, port in self._opened:
            port.startReading()

    def reload_certificates(self) -> None:
        """Read the files of TLS endpoints again; an endpoint keeps the old ones on an error."""
        self._opener.reload_certificates(_reload_problem)


def _reason(endpoint: str, error: Any) -> str:
    if isinstance(error, (SSL.Error, crypto.Error)):
        return f"{_BAD_PEM}, or the key is not the certificate's"
    if isinstance(error, CannotListenError):
        error = error.socketError
    if isinstance(error, PermissionError) and endpoint.startswith("unix:"):
        return f"{error.strerror}; its directory must be writable for user {os.geteuid()}"
    if isinstance(error, PermissionError):
        return f"{error.strerror}; ports below 1024 need root (and twistd's --uid)"
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        other = "path" if endpoint.startswith("unix:") else "port"
        return f"{error.strerror}; stop the process that listens there, or choose another {other}"
    if isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL:
        return f"{error.strerror}; this machine has no such address"
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return str(error)


def socket_owner(text: str) -> Owner:
    """The user and the group of ``USER``, ``USER:GROUP`` or ``:GROUP``, as names or numbers.

    Raises:
        ConfigurationError: the text is invalid, or there is no such user or group.
    """
    user, _, group = text.partition(":")
    if not user and not group:
        raise ConfigurationError(f"{text!r} is invalid: expected USER, USER:GROUP or :GROUP")
    return Owner(
        _id_of(user, lambda: pwd.getpwnam(user).pw_uid, "user"),
        _id_of(group, lambda: grp.getgrnam(group).gr_gid, "group"),
    )


def _id_of(name: str, look_up: Callable[[], int], what: str) -> int:
    """The number of a user or a group; -1, which changes nothing, for ""."""
    if not name or name.isdecimal():
        return int(name or -1)
    try:
        return look_up()
    except KeyError:
        raise ConfigurationError(f"this machine has no {what} {name}") from None


def give_socket(port: IListeningPort, owner: Owner) -> None:
    """Give the file of a Unix socket to its owner; other ports have none.

    Raises:
        ConfigurationError: this process is not allowed to.
    """
    if not isinstance(port.getHost(), UNIXAddress):
        return
    if isinstance(port, UNIXPort) and not port.owns_file:  # the previous program has given it away
        return
    path = listening_address(port)
    try:
        change_owner(path, *owner)
    except FileExistsError as error:
        raise ConfigurationError(f"cannot give {path} away: {error.strerror}") from None
    except OSError as error:
        raise ConfigurationError(
            f"cannot give {path} away: {error.strerror}; only root may change the user, and "
            "others may only choose a group that they are in"
        ) from None


def listening_address(port: IListeningPort) -> str:
    """``host:port`` of an open TCP port, or the path of a socket."""
    where: Any = port.getHost()
    if isinstance(where, (IPv4Address, IPv6Address)):
        return str(Address(where.host, where.port))
    name = where.name
    return name.decode() if isinstance(name, bytes) else str(name)
