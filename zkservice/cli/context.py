"""What every command is given: streams, a way to ZooKeeper, and the user's wish to stop."""

from __future__ import annotations

import os
import tempfile
from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar

from zkservice.cli.terminal import Terminal
from zkservice.client import TLS, ZooKeeperClient
from zkservice.errors import (
    AuthFailedError,
    ConfigurationError,
    ConnectTimeoutError,
    FailedConnectError,
    SessionClosedRequireSaslAuthError,
)
from zkservice.security import identity, load_tls, sasl_user
from zkservice.zookeeper import ZooKeeper

T = TypeVar("T")


class Exit(IntEnum):
    """What the exit code says."""

    DONE = 0
    FAILED = 1  # what was asked for is wrong, or was refused
    USAGE = 2  # the command line is wrong
    UNREACHABLE = 3  # no ZooKeeper
    CHANGED = 4  # somebody else changed a node meanwhile: try again
    STOPPED = 130  # by Ctrl-C, as a shell has it: 128 + SIGINT


@dataclass
class Context:
    """The surroundings of a command.

    Attributes:
        reactor: that it runs in.
        terminal: that it talks to.
        options: of the command line.
        stopping: the user has asked it to stop.
        writing: it changes nodes now, and can stop between two changes.
    """

    reactor: Any
    terminal: Terminal
    options: Namespace
    stopping: bool = False
    writing: bool = False

    def should_stop(self) -> bool:
        """Whether the user has had enough."""
        return self.stopping

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[ZooKeeper]:
        """A session for as long as the block lasts.

        Raises:
            FailedConnectError: nobody let us in within the time that the user gave.
        """
        options, environ = self.options, self.terminal.environ
        client = ZooKeeperClient(
            options.hosts,
            options.session_timeout / 1000,
            reactor=self.reactor,
            auth=[_named("--auth", identity, text, environ) for text in options.auth],
            sasl=_named("--sasl", sasl_user, options.sasl, environ) if options.sasl else None,
            tls=_named("--tls", _tls, options),
        )
        try:
            await self._let_in(client)
            yield ZooKeeper(client, reactor=self.reactor)
        finally:
            await client.close()

    async def _let_in(self, client: ZooKeeperClient) -> None:
        try:
            await client.connect(self.options.timeout)
        except (ConnectTimeoutError, AuthFailedError, SessionClosedRequireSaslAuthError) as error:
            reason = str(error.detail or error.summary)
            raise FailedConnectError(self.options.hosts, reason) from None

    def read_text(self, name: str | None) -> tuple[str, str]:
        """A file's text, and what to call it; without a name, or ``-``, standard input.

        Raises:
            ConfigurationError: it cannot be read, or is no UTF-8.
        """
        shown = name if name not in (None, "-") else "<stdin>"
        try:
            if shown == "<stdin>":
                if self.terminal.stdin.isatty():
                    self.terminal.note("reading standard input; Ctrl-D ends it")
                return self.terminal.read_all(), shown
            with open(str(name), encoding="utf-8") as file:
                return file.read(), str(name)
        except OSError as error:
            raise ConfigurationError(f"{shown}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{shown}: byte {error.start} is no UTF-8") from None

    def write_text(self, name: str | None, text: str) -> None:
        """Write a result to a file, which is complete or as it was; without a name, show it.

        Raises:
            ConfigurationError: it cannot be written.
        """
        if name in (None, "-"):
            self.terminal.out(text, end="")
            return
        try:
            write_whole(str(name), text.encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise ConfigurationError(f"{name}: {error.strerror}") from None


def write_whole(name: str, data: bytes) -> None:
    """Replace a file by another in one step."""
    if not os.path.isfile(name) and os.path.exists(name):  # a terminal, a pipe
        with open(name, "wb") as file:
            file.write(data)
        return
    target = os.path.realpath(name)
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(target), prefix=".zkservice-")
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            # By its descriptor: others may replace a name in a folder of theirs.
            os.fchmod(file.fileno(), _mode(target))
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _mode(name: str) -> int:
    """The permissions of a file, or those that a new one gets."""
    with suppress(OSError):
        return os.stat(name).st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _named(option: str, read: Callable[..., T], *given: Any) -> T:
    """What an option means, or the option's name before what is wrong with it."""
    try:
        return read(*given)
    except ConfigurationError as error:
        raise ConfigurationError(f"{option}: {error}") from None


def _tls(options: Namespace) -> Any:
    """The TLS side of connections, if any option asks for it."""
    ca, certificate, key = options.tls_ca, options.tls_certificate, options.tls_key
    name = options.tls_server_name
    if not (options.tls or ca or certificate or name):
        return None
    return load_tls(TLS(ca, certificate, key, name))
