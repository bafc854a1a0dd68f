"""Follow a service, and list its members for consumers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zkservice.client import ZooKeeperClient
from zkservice.discovery import Provider, Resolver
from zkservice.errors import ClientClosedError
from zkservice.formats import Member
from zkservice.formats.consumers import Listing

__all__ = ["Source"]


class Source:
    """Follows one service.

    Args:
        name: the service's name for consumers.
        path: the service's znode.
        client: need not be connected yet.
        reactor: the reactor of the client.
        changed: called when what is registered has changed, or is known for the first time.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        path: str,
        client: ZooKeeperClient,
        reactor: Any,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self.name = name
        self.path = path
        self._resolver = Resolver(client, path, reactor=reactor)
        self._changed = changed

    def start(self) -> Deferred[None]:
        """Start; fires when the registered members are known.

        Fails with the errors of `Resolver.start`.  The service is followed all the same, and read
        as soon as that is possible.
        """
        self._watch_changes()
        return self.when_read()

    def when_read(self) -> Deferred[None]:
        """Fires when the registered members are known; fails as `start` does."""
        read: Deferred[Any] = self._resolver.start()
        return read.addCallback(lambda _: None)

    def start_and_log_errors(self) -> None:
        """Start; log an error instead of failing."""
        self.start().addErrback(self._not_read)

    def stop(self) -> None:
        """Stop following the service."""
        self._resolver.close()

    @property
    def error(self) -> Exception | None:
        """Why the path cannot be resolved; None if it can, or was not read yet."""
        return self._resolver.error

    def listing(self) -> Listing | None:
        """The registered members; None while they are not known."""
        if not self._resolver.known:
            return None
        return Listing(self.name, self.path, tuple(self._members()))

    def _members(self) -> Iterator[Member]:
        for provider in self._resolver.providers:
            yield _member(provider, True)
        for provider in self._resolver.stopping:
            yield _member(provider, False)

    def _watch_changes(self) -> None:
        self._resolver.when_changed().addCallbacks(self._has_changed, self._closed)

    def _has_changed(self, providers: object) -> None:
        self._watch_changes()
        self._changed()

    def _closed(self, failure: Failure) -> None:
        failure.trap(ClientClosedError)

    def _not_read(self, failure: Failure) -> None:
        if failure.check(ClientClosedError) is None:
            self._log.warn(
                "{path} cannot be read: {error}; trying again",
                path=self.path,
                error=failure.getErrorMessage(),
            )


def _member(provider: Provider, available: bool) -> Member:
    return Member("", provider.host, provider.port, provider.properties, provider.tls, available)
