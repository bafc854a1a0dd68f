"""ZooKeepers that the tests of one process share, since a start takes a second."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from itertools import count
from typing import ClassVar

from tests.functional.processes import TIMEOUT, EmbeddedProcess, quiet_kazoo
from zkservice.testing.apache import ApacheZooKeeper


class SharedApache:
    """Starts a server once, for the tests that can share it."""

    _server: ClassVar[ApacheZooKeeper | None] = None

    @classmethod
    def started(cls) -> ApacheZooKeeper:
        """The server; it runs until the process ends."""
        if cls._server is None:
            server = ApacheZooKeeper()
            atexit.register(server.remove)
            cls._server = server.start()
        return cls._server

    @classmethod
    def hosts(cls) -> str:
        """The server's connection string."""
        return cls.started().connection_string


class SharedEmbedded:
    """Starts a ``zkembedded`` once, for the tests that can share it."""

    _server: ClassVar[EmbeddedProcess | None] = None

    @classmethod
    def hosts(cls) -> str:
        """The server's connection string; it runs until the process ends."""
        if cls._server is None:
            folder = tempfile.mkdtemp()
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            server = EmbeddedProcess(folder)
            atexit.register(server.stop)
            server.start()
            cls._server = server
        return cls._server.connection_string


class Place:
    """An empty tree on a shared server; to a test it is a ZooKeeper of its own.

    Args:
        hosts: returns the server's connection string.
    """

    numbers: ClassVar[count[int]] = count()

    def __init__(self, hosts: Callable[[], str]) -> None:
        self._hosts = hosts
        self.connection_string = ""

    def start(self) -> None:
        """Create the znode below which the test is."""
        root = f"/test-{next(self.numbers)}"
        client = quiet_kazoo(self._hosts())
        try:
            client.start(TIMEOUT)
            client.create(root)
        finally:
            client.stop()
            client.close()
        self.connection_string = f"{self._hosts()}{root}"
