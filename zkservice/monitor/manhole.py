"""A Python prompt inside the running service, over telnet or SSH.

Its users can do everything that the process can do, so it is opened only on demand.  SSH asks for a
key and telnet over TCP for a token; a Unix socket is protected by the permissions of its file.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.checkers import InMemorySSHKeyDB, SSHPublicKeyChecker
from twisted.conch.insults.insults import ServerProtocol
from twisted.conch.manhole_ssh import ConchFactory, TerminalRealm
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import SSHServerTransport
from twisted.cred.portal import Portal
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.monitor.connection_slots import ConnectionSlots, SlotPriority
from zkservice.monitor.prompt import LOGIN_TIMEOUT, MAX_CONNECTIONS, Prompt, banner_of
from zkservice.monitor.telnet import MAX_LINE, TelnetManholeFactory, is_local

_log = Logger()

__all__ = ["is_local", "read_token", "ssh_manhole", "telnet_manhole"]


def telnet_manhole(
    namespace: Mapping[str, Any],
    *,
    token: bytes | None = None,
    clock: IReactorTime | None = None,
) -> Factory:
    """A factory of Python prompts over telnet; see `TelnetManholeFactory`."""
    return TelnetManholeFactory(namespace, token, clock)


class _SSHTransport(SSHServerTransport, TimeoutMixin):
    """An SSH connection that closes without a timely login, or when its slot is needed."""

    transport: Any
    factory: Any

    @property
    def priority(self) -> SlotPriority:
        """How important the connection is; Twisted sets ``avatar`` at the login."""
        return SlotPriority.SESSION if hasattr(self, "avatar") else SlotPriority.SILENT

    def evict(self) -> None:
        """Close the connection: another one needs its slot."""
        self.transport.abortConnection()

    @override
    def callLater(self, period: float, func: Callable[[], None]) -> Any:
        if self.factory.clock is None:
            return super().callLater(period, func)
        return self.factory.clock.callLater(period, func)

    @override
    def connectionMade(self) -> None:
        self.factory.slots.occupy(self)
        self.setTimeout(LOGIN_TIMEOUT)
        super().connectionMade()

    @override
    def connectionLost(self, reason: Failure | None = connectionDone) -> None:
        self.factory.slots.release(self)
        self.setTimeout(None)
        super().connectionLost(reason)

    @override
    def timeoutConnection(self) -> None:
        if self.priority is SlotPriority.SILENT:
            self.transport.abortConnection()


class _SSHFactory(ConchFactory):
    protocol = _SSHTransport
    noisy = False

    def __init__(self, portal: Portal, clock: IReactorTime | None) -> None:
        super().__init__(portal)
        self.clock = clock
        self.slots: ConnectionSlots[Any] = ConnectionSlots(MAX_CONNECTIONS)

    @override
    def buildProtocol(self, addr: IAddress | None) -> Any:
        self.slots.make_room()  # a manhole's connection is never busy
        return super().buildProtocol(addr)


def ssh_manhole(
    namespace: Mapping[str, Any],
    *,
    authorized_keys: Iterable[bytes],
    user: str,
    host_key: str,
    clock: IReactorTime | None = None,
) -> Factory:
    """A factory of Python prompts over SSH.

    Args:
        namespace: the names in the prompt; each connection has its own copy.
        authorized_keys: public keys that may log in, as lines of an OpenSSH file.
        user: the name to log in with.
        host_key: the file of the server's private key; created if it is missing.
        clock: for the time-out of the login; the global reactor if it is None.

    Raises:
        ValueError: there is no authorized key, so no user could log in.
        OSError: the host key cannot be read or written.
        twisted.conch.ssh.keys.BadKeyError: one of the keys cannot be read.
    """
    keys = [Key.fromString(line) for line in authorized_keys if line.strip()]
    if not keys:
        raise ValueError("an SSH manhole needs at least one authorized key")
    realm: Any = TerminalRealm()
    banner = banner_of(namespace)
    realm.chainedProtocolFactory = lambda: ServerProtocol(Prompt, namespace, banner)
    checker = SSHPublicKeyChecker(InMemorySSHKeyDB({user.encode(): keys}))
    factory: Any = _SSHFactory(Portal(realm, [checker]), clock)
    key = Key.fromString(_read_or_create(host_key, _new_host_key))
    factory.publicKeys = {key.sshType(): key.public()}
    factory.privateKeys = {key.sshType(): key}
    made: Factory = factory
    return made


def read_token(path: str) -> bytes:
    """Read the first line of a file, which is created with a random token if it is missing.

    Raises:
        OSError: the file cannot be read or created.
        ValueError: its first line is blank, or too long for a token.
    """
    content = _read_or_create(path, lambda: f"{secrets.token_urlsafe(24)}\n".encode())
    token = content.partition(b"\n")[0].strip()
    if not token or len(token) > MAX_LINE - 2:
        raise ValueError(f"{path}: its first line must be the token")
    if os.stat(path).st_mode & 0o077:
        _log.warn(
            "other users of this machine can read the manhole's token in {path}; chmod 600 it",
            path=path,
        )
    return token


def _read_or_create(path: str, make: Callable[[], bytes]) -> bytes:
    """Read a file; if it is missing, create it, readable only by this user from the start."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        with open(path, "rb") as file:
            return file.read()
    content = make()
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return content


def _new_host_key() -> bytes:
    text: bytes = Key(Ed25519PrivateKey.generate()).toString("openssh")
    return text
