"""Parts that the reactors and transports of the tests have in common."""

from __future__ import annotations

from typing import Any

from typing_extensions import Self


class OwnNameResolver:
    """A reactor that resolves names itself; it has ``resolveHostName``."""

    @property
    def nameResolver(self) -> Self:  # noqa: N802
        """The reactor."""
        return self

    def installNameResolver(self, resolver: Any) -> Any:  # noqa: N802
        """Refuse: names mean what a test says."""
        raise NotImplementedError


class SocketOptions:
    """The options of a TCP transport that change nothing without a socket, and simple writing."""

    def write(self, data: bytes) -> None:
        """Send bytes."""
        raise NotImplementedError

    def writeSequence(self, data: Any) -> None:  # noqa: N802
        """Send pieces as one."""
        self.write(b"".join(data))

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802
        """Do nothing: no bytes are held back."""

    def getTcpNoDelay(self) -> bool:  # noqa: N802
        """Return True."""
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:  # noqa: N802
        """Do nothing: there are no probes."""

    def getTcpKeepAlive(self) -> bool:  # noqa: N802
        """Return False."""
        return False
