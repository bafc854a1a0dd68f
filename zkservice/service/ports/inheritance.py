"""What the new program of an upgrade inherits: listening sockets and a channel.

The descriptors are inherited (fork(2), exec(3)); an environment variable describes them.  The two
programs may be of different versions.  So the variable and the messages on the channel are JSON
with a version, and unknown fields are ignored.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.errors import ConfigurationError
from zkservice.privates import set_systemd_socket_names
from zkservice.supervisor.channel import adopt_socket

__all__ = ["VARIABLE", "Handover", "Inheritance", "InheritedSockets", "inherit"]

#: The environment variable.
VARIABLE: Final = "ZKSERVICE_UPGRADE"
#: The version of the variable's text and of the messages.
_VERSION: Final = 1
#: The descriptor of the channel in the new program; the sockets follow.
_CHANNEL: Final = 3


@dataclass(frozen=True)
class Inheritance:
    """The descriptors of a new program, with their meanings.

    Attributes:
        sockets: pairs of an endpoint string and the descriptor of the socket that listens there.
        systemd: the names of the sockets that systemd passed to the first program.
        pidfile: the path of the service's pid file; "" if there is none.
        channel: the descriptor of the channel to the old program.
    """

    sockets: tuple[tuple[str, int], ...]
    systemd: tuple[str, ...] = ()
    pidfile: str = ""
    channel: int = _CHANNEL

    @classmethod
    def of(
        cls, endpoints: Iterable[str], systemd: Iterable[str] = (), pidfile: str = ""
    ) -> Inheritance:
        """Make one for a new program; its sockets' descriptors follow that of the channel."""
        numbered = tuple((each, _CHANNEL + 1 + n) for n, each in enumerate(endpoints))
        return cls(numbered, tuple(systemd), pidfile)

    def descriptors(self, channel: int, sockets: Iterable[int]) -> dict[int, int]:
        """Map each descriptor of the new program to the one of this program.

        Args:
            channel: this program's descriptor of the end of the channel that the new one gets.
            sockets: this program's descriptors, in the order of the attribute ``sockets``.
        """
        numbers = (number for _, number in self.sockets)
        return {self.channel: channel, **dict(zip(numbers, sockets, strict=True))}

    def to_text(self) -> str:
        """The variable's value."""
        return json.dumps({"version": _VERSION, **vars(self)})

    @classmethod
    def from_text(cls, text: str) -> Inheritance:
        """Read the variable's value.

        Raises:
            ConfigurationError: it is invalid, or of an unknown version.
        """
        try:
            found = json.loads(text)
            version = found["version"]
            sockets = tuple((str(endpoint), int(number)) for endpoint, number in found["sockets"])
            systemd = tuple(map(str, found["systemd"]))
            read = cls(sockets, systemd, str(found["pidfile"]), int(found["channel"]))
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(f"{VARIABLE} is invalid: {error!r}") from None
        if version != _VERSION:
            raise ConfigurationError(
                f"{VARIABLE} is of version {version}; this zkservice knows {_VERSION}"
            )
        return read

    def keep_private(self) -> None:
        """Keep the descriptors from being inherited by programs that this one starts.

        Raises:
            ConfigurationError: one of them is not open.
        """
        for number in (self.channel, *(number for _, number in self.sockets)):
            try:
                os.set_inheritable(number, False)
            except OSError as error:
                raise ConfigurationError(
                    f"{VARIABLE}: descriptor {number}: {error.strerror}"
                ) from None

    def report_failure(self, reason: str) -> None:
        """Tell the old program why this one cannot start, before there is a reactor."""
        with contextlib.suppress(OSError):
            os.write(self.channel, _encode({"say": "failed", "reason": reason}) + b"\n")


def inherit(environ: MutableMapping[str, str]) -> Inheritance | None:
    """What this program inherits in an upgrade; None if it was started otherwise.

    The variable is removed, because programs that this one starts are not upgrades.

    Raises:
        ConfigurationError: the variable is invalid.
    """
    text = environ.pop(VARIABLE, "")
    if not text:
        return None
    inherited = Inheritance.from_text(text)
    inherited.keep_private()
    if inherited.systemd:
        set_systemd_socket_names(inherited.systemd)
    return inherited


class InheritedSockets:
    """Inherited sockets that no port has taken yet."""

    def __init__(self, sockets: Iterable[tuple[str, int]] = ()) -> None:
        self._unclaimed: list[tuple[str, int]] = list(sockets)

    def take(self, endpoint: str) -> int | None:
        """Take the descriptor of the socket that listens there; None if there is none left."""
        for position, (each, number) in enumerate(self._unclaimed):
            if each == endpoint:
                del self._unclaimed[position]
                return number
        return None

    def close(self) -> None:
        """Close the sockets that were not taken."""
        for _, number in self._unclaimed:
            with contextlib.suppress(OSError):
                os.close(number)
        self._unclaimed.clear()


class Handover(LineOnlyReceiver):
    """One end of the channel between the old program and the new one.

    Messages of the new program:

    - ``prepared``: its application is loaded; ``session`` is the id of its ZooKeeper session;
    - ``ready``: it has taken over, and the address is registered in its session;
    - ``failed``: it cannot go on; ``reason`` says why.

    Messages of the old program:

    - ``go``: accept connections, and replace the znodes of ``session``; ``out`` is the operator's
      reason for deregistering the address, or "";
    - ``yours``: own the sockets and the file ``pidfile``;
    - ``stop``: end together with the old program.

    Args:
        on_message: called with each message; its ``say`` is the message's type.
        on_close: called when the other program has closed its end or has ended.
    """

    delimiter = b"\n"
    MAX_LENGTH = 1 << 16

    def __init__(
        self, on_message: Callable[[Mapping[str, Any]], object], on_close: Callable[[], object]
    ) -> None:
        self._on_message = on_message
        self._on_close = on_close
        self._open = False

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._open

    def adopt(self, reactor: Any, end: socket.socket) -> None:
        """Start on an open socket, which is taken over."""
        adopt_socket(reactor, end, self)

    def send(self, kind: str, **values: Any) -> None:
        """Send a message of a type; it is dropped if the other side has gone."""
        if self._open:
            self.sendLine(_encode({"say": kind, **values}))

    def close(self) -> None:
        """Send buffered messages, and close."""
        if self._open:
            transport: Any = self.transport
            transport.loseConnection()

    @override
    def connectionMade(self) -> None:
        self._open = True

    @override
    def lineReceived(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return
        if isinstance(message, dict) and self._open:
            self._on_message(message)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._open = False
        self._on_close()


def _encode(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode()
