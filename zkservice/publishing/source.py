"""A service that is followed, as consumers are told of it."""

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
        name: what consumers call it.
        path: its znode.
        client: connected, or about to be.
        reactor: tells the time.
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
        """Begin; fires when it is known what is registered.

        Fails with what the resolver's ``start`` does; the service is followed all the same.
        """
        self._wait()
        return self.when_read()

    def when_read(self) -> Deferred[None]:
        """Fires when it is known what is registered; fails as `start` does."""
        read: Deferred[Any] = self._resolver.start()
        return read.addCallback(lambda _: None)

    def start_anyhow(self) -> None:
        """Begin, and log it if the service cannot be read yet."""
        self.start().addErrback(self._not_read)

    def stop(self) -> None:
        """Follow it no more."""
        self._resolver.close()

    @property
    def error(self) -> Exception | None:
        """Why the path leads nowhere; None if it leads somewhere, or was not read yet."""
        return self._resolver.error

    def listing(self) -> Listing | None:
        """What is registered; None while nothing is known."""
        if not self._resolver.known:
            return None
        return Listing(self.name, self.path, tuple(self._members()))

    def _members(self) -> Iterator[Member]:
        for provider in self._resolver.providers:
            yield _member(provider, True)
        for provider in self._resolver.stopping:
            yield _member(provider, False)

    def _wait(self) -> None:
        self._resolver.when_changed().addCallbacks(self._has_changed, self._closed)

    def _has_changed(self, providers: object) -> None:
        self._wait()
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
