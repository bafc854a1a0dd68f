"""A Python prompt inside the running service, over telnet or SSH.

Whoever reaches it can do all that the process can do.  Nothing opens one by itself, and
the telnet one, which asks for no password, answers nobody but this machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.checkers import InMemorySSHKeyDB, SSHPublicKeyChecker
from twisted.conch.insults.insults import ServerProtocol
from twisted.conch.manhole import ColoredManhole
from twisted.conch.manhole_ssh import ConchFactory, TerminalRealm
from twisted.conch.ssh.keys import Key
from twisted.conch.telnet import TelnetBootstrapProtocol, TelnetTransport
from twisted.cred.portal import Portal
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from typing_extensions import override

_log = Logger()


class TelnetManholeFactory(Factory):
    """Python prompts without a login, for peers on this machine.

    Each connection has its own copy of the namespace.
    """

    noisy = False

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self._namespace = dict(namespace)

    @override
    def buildProtocol(self, addr: IAddress | None) -> TelnetTransport | None:
        if not is_local(addr):
            _log.warn("no manhole for {peer}: it is not on this machine", peer=addr)
            return None
        return TelnetTransport(
            TelnetBootstrapProtocol, ServerProtocol, ColoredManhole, dict(self._namespace)
        )


def telnet_manhole(namespace: Mapping[str, Any]) -> Factory:
    """A factory of Python prompts over telnet; peers of other machines are turned away."""
    return TelnetManholeFactory(namespace)


def ssh_manhole(
    namespace: Mapping[str, Any], *, authorized_keys: Iterable[bytes], user: str, host_key: str
) -> Factory:
    """A factory of Python prompts over SSH.

    Args:
        namespace: what the prompt knows; each connection has its own copy.
        authorized_keys: public keys that may log in, as lines of an OpenSSH file.
        user: the name to log in with.
        host_key: the server's private key, a file; it is made if it is missing.

    Raises:
        ValueError: no key is authorized, so nobody could log in.
        OSError: the host key cannot be read or written.
        twisted.conch.ssh.keys.BadKeyError: one of the keys cannot be read.
    """
    keys = [Key.fromString(line) for line in authorized_keys if line.strip()]
    if not keys:
        raise ValueError("an SSH manhole needs at least one authorized key")
    realm: Any = TerminalRealm()
    realm.chainedProtocolFactory = lambda: ServerProtocol(ColoredManhole, dict(namespace))
    checker = SSHPublicKeyChecker(InMemorySSHKeyDB({user.encode(): keys}))
    factory: Any = ConchFactory(Portal(realm, [checker]))
    key = _host_key(host_key)
    factory.publicKeys = {key.sshType(): key.public()}
    factory.privateKeys = {key.sshType(): key}
    made: Factory = factory
    return made


def is_local(address: object) -> bool:
    """Whether a peer is on this machine: a loopback address or a UNIX socket."""
    if isinstance(address, UNIXAddress):
        return True
    try:
        peer = ip_address(getattr(address, "host", ""))
    except ValueError:
        return False
    mapped = getattr(peer, "ipv4_mapped", None)
    return (mapped or peer).is_loopback


def _host_key(path: str) -> Key:
    if os.path.exists(path):
        found: Key = Key.fromFile(path)
        return found
    key = Key(Ed25519PrivateKey.generate())
    # Nobody else may read it, not even for a moment.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.toString("openssh"))
    return key
