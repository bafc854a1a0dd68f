"""Log failed connection attempts without repeating the same reason."""

from __future__ import annotations

from collections.abc import Collection

from twisted.logger import Logger

from zkservice.wire.hosts import Address


def without_full_stop(error: object) -> str:
    """The text of an error, such as one of Twisted's, for the middle of a sentence."""
    return str(error).rstrip(".")


class FailureLog:
    """Logs each new reason once, until a connection has succeeded.

    Args:
        servers: all of the ensemble, for the message that none can be reached.
    """

    _log = Logger()

    def __init__(self, servers: Collection[Address]) -> None:
        self._servers = servers
        self._logged: dict[Address, str] = {}  # the last reason of each server
        self._all_failed_logged = False
        self.last: Exception | None = None  #: of the last attempt, if it failed

    def connected(self) -> None:
        """An attempt succeeded; log all reasons again from now on."""
        self.last = None
        self._logged.clear()
        self._all_failed_logged = False

    def failed(self, address: Address, error: Exception) -> None:
        """An attempt to connect to a server failed."""
        self.last = error
        if self._logged.get(address) != str(error):
            self._logged[address] = str(error)
            self._log.debug(
                "connecting to {server} failed: {error}",
                server=str(address),
                error=without_full_stop(error),
            )

    def all_failed(self) -> None:
        """All servers were tried, and none accepted the session."""
        if not self._all_failed_logged:
            self._all_failed_logged = True
            self._log.warn(
                "no ZooKeeper server can be reached ({servers}): {error}; retrying",
                servers=", ".join(map(str, self._servers)),
                error=without_full_stop(self.last),
            )
