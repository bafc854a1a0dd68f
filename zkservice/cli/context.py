"""What every command receives: a terminal, a session with ZooKeeper, and whether to stop."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar

from zkservice.cli.options import ConnectOptions
from zkservice.cli.terminal import Terminal
from zkservice.client import ZooKeeperClient
from zkservice.errors import (
    AuthFailedError,
    ConfigurationError,
    ConnectTimeoutError,
    FailedConnectError,
    NoNodeError,
    SessionClosedRequireSaslAuthError,
)
from zkservice.replacing import replacing
from zkservice.security import identity, load_tls, sasl_user
from zkservice.zookeeper import ZooKeeper, default_connection_string

T = TypeVar("T")


class Exit(IntEnum):
    """The exit codes."""

    DONE = 0
    FAILED = 1  # the input is invalid, or the operation was refused
    USAGE = 2  # the command line is invalid
    UNREACHABLE = 3  # ZooKeeper cannot be reached
    CHANGED = 4  # another client changed a node meanwhile: try again
    STOPPED = 130  # by Ctrl-C, as a shell has it: 128 + SIGINT


@dataclass
class Context:
    """The environment in which a command runs.

    Attributes:
        stopping: the user has asked the command to stop.
        writing: the command changes nodes now, and can stop between two changes.
    """

    reactor: Any
    terminal: Terminal
    stopping: bool = False
    writing: bool = False

    def should_stop(self) -> bool:
        """Whether the user has asked the command to stop."""
        return self.stopping

    @asynccontextmanager
    async def connected(self, hosts: str, options: ConnectOptions) -> AsyncIterator[ZooKeeper]:
        """A session with ZooKeeper for as long as the block lasts.

        Args:
            hosts: a connection string, or ``-`` for that of the environment.
            options: how to connect.

        Raises:
            FailedConnectError: there was no session within the time that the options give.
            ConfigurationError: an option or the chroot is invalid.
        """
        environ = self.terminal.environ
        if hosts == "-":
            hosts = default_connection_string(environ)
        sasl, tls = options.sasl, options.tls_files()
        client = ZooKeeperClient(
            hosts,
            options.session_timeout / 1000,
            reactor=self.reactor,
            auth=[_read_option("--auth", identity, text, environ) for text in options.auth],
            sasl=None if sasl is None else _read_option("--sasl", sasl_user, sasl, environ),
            tls=None if tls is None else _read_option("--tls", load_tls, tls),
        )
        try:
            await _connect(client, hosts, options.timeout)
            yield ZooKeeper(client, reactor=self.reactor)
        except NoNodeError as error:
            if error.path != "/":
                raise
            # Every server has a root, so it is that of the chroot.
            raise ConfigurationError(f"the chroot of {hosts} does not exist") from None
        finally:
            await client.close()

    def read_text(self, name: str | None) -> tuple[str, str]:
        """Read a file; without a name, or with ``-``, standard input.

        Returns:
            The text, and the name to show in messages.

        Raises:
            ConfigurationError: it cannot be read, or is not UTF-8.
        """
        shown_name = name if name not in (None, "-") else "<stdin>"
        try:
            if shown_name == "<stdin>":
                if self.terminal.stdin.isatty():
                    self.terminal.note("reading standard input; Ctrl-D ends it")
                return self.terminal.read_all(), shown_name
            with open(str(name), encoding="utf-8") as file:
                return file.read(), str(name)
        except OSError as error:
            raise ConfigurationError(f"{shown_name}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{shown_name}: byte {error.start} is not UTF-8") from None

    def write_text(self, name: str | None, text: str) -> None:
        """Write a result to a file; without a name, or with ``-``, print it.

        The file is replaced as a whole or not at all.

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
    """Replace the contents of a file in one step."""
    if not os.path.isfile(name) and os.path.exists(name):  # a terminal or a pipe
        with open(name, "wb") as file:
            file.write(data)
        return
    target = os.path.realpath(name)
    with replacing(target) as file:
        file.write(data)
        # By descriptor: in a directory of another user, the name may be replaced at any time.
        os.fchmod(file.fileno(), _mode(target))


def _mode(name: str) -> int:
    """The permissions of a file, or those that a new file gets."""
    with suppress(OSError):
        return os.stat(name).st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


async def _connect(client: ZooKeeperClient, hosts: str, timeout: float) -> None:
    try:
        await client.connect(timeout)
    except (ConnectTimeoutError, AuthFailedError, SessionClosedRequireSaslAuthError) as error:
        raise FailedConnectError(hosts, str(error.detail or error.summary)) from None


def _read_option(option: str, read: Callable[..., T], *arguments: Any) -> T:
    """Call a function that reads an option's value; its error names the option."""
    try:
        return read(*arguments)
    except ConfigurationError as error:
        raise ConfigurationError(f"{option}: {error}") from None
