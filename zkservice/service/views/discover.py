"""``/-/discover/FORMAT?path=/svc/web``: the providers of a service, in formats of proxies."""

from __future__ import annotations

from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from zkservice.client import ZooKeeperClient
from zkservice.errors import InvalidPathError, ViewError, ZooKeeperError
from zkservice.formats.consumers import CONSUMERS, Consumer, sort_out
from zkservice.publishing import Source
from zkservice.service.config import DiscoverSettings
from zkservice.web import DeferredView, TextView, View
from zkservice.znodes import parent, split, validate

__all__ = ["DiscoverViews", "discover_paths"]

_PREFIX: Final = "/-/discover/"
#: Services that are followed at the same time; each costs watches.
MAX_FOLLOWED: Final = 50
#: Seconds without a request after which a service may be replaced by another one.
IDLE: Final = 600.0
#: Seconds to wait for a service to be read for the first time.
FIRST_READ_TIMEOUT: Final = 2.0


def discover_paths() -> list[str]:
    """The paths of the views."""
    return [_PREFIX + name for name in CONSUMERS]


class DiscoverViews:
    """Shows services in the formats of `CONSUMERS`; follows a service from its first request.

    Args:
        own: the path of this service.  It and the services beside it are always shown.
        settings: which other services are shown.
        reactor: tells the time.
    """

    def __init__(self, own: str, settings: DiscoverSettings, reactor: Any) -> None:
        self._own = own
        self._settings = settings
        self._reactor: IReactorTime = reactor
        self._client: ZooKeeperClient | None = None
        self._sources: dict[str, tuple[Source, float]] = {}  # and the time of the last request

    def views(self) -> dict[str, View]:
        """The views by path; empty unless they are enabled."""
        if not self._settings.enabled:
            return {}
        return {
            _PREFIX + name: DeferredView(partial(self._ask, consumer))
            for name, consumer in CONSUMERS.items()
        }

    def follow(self, client: ZooKeeperClient) -> None:
        """Use this client from now on."""
        self._client = client

    def _ask(self, consumer: Consumer, environ: dict[str, Any]) -> Deferred[View]:
        return Deferred.fromCoroutine(self._render(consumer, environ.get("QUERY_STRING", "")))

    async def _render(self, consumer: Consumer, query: str) -> View:
        try:
            source = self._source(_path(query, self._own))
            text = consumer.render(sort_out(consumer, [await self._listing(source)])[0])
        except ViewError as error:
            return TextView(partial(_raise, error))
        return partial(_show, consumer.content_type, text)

    async def _listing(self, source: Source) -> Any:
        if source.error is not None:
            raise ViewError("404 Not Found", f"{source.error}\n")
        listing = source.listing()
        if listing is None:
            try:
                await source.when_read().addTimeout(FIRST_READ_TIMEOUT, self._reactor, _too_late)
            except (ZooKeeperError, CancelledError) as error:
                raise _unavailable(f"{source.path} was not read yet: {error}") from None
            return await self._listing(source)
        return listing

    def _source(self, path: str) -> Source:
        """The service at a path; starts to follow it if necessary."""
        if not self._is_shown(path):
            raise ViewError("403 Forbidden", f"{path} is not shown here; see --discover-below\n")
        now = self._reactor.seconds()
        if path in self._sources:
            source, _ = self._sources[path]
        elif self._client is None:
            raise _unavailable("starting")
        else:
            self._make_room(now)
            source = Source(split(path)[1] or "/", path, self._client, self._reactor)
            source.start_and_log_errors()
        self._sources[path] = source, now
        return source

    def _is_shown(self, path: str) -> bool:
        if parent(path) == parent(self._own) and path != "/":
            return True
        return any(
            path == below or path.startswith(f"{below.rstrip('/')}/")
            for below in self._settings.below
        )

    def _make_room(self, now: float) -> None:
        if len(self._sources) < MAX_FOLLOWED:
            return
        oldest = min(self._sources, key=lambda path: self._sources[path][1])
        source, last_request = self._sources[oldest]
        if now - last_request < IDLE:
            raise _unavailable(f"already following {MAX_FOLLOWED} other services")
        del self._sources[oldest]
        source.stop()


def _show(content_type: str, text: bytes, environ: object, start_response: Any) -> list[bytes]:
    headers = [("Content-Type", content_type), ("Content-Length", str(len(text)))]
    start_response("200 OK", [*headers, ("Cache-Control", "no-store")])
    return [text]


def _path(query: str, own: str) -> str:
    try:
        return validate(parse_qs(query, max_num_fields=10).get("path", [own])[-1])
    except (InvalidPathError, ValueError) as error:
        raise ViewError("400 Bad Request", f"{error}\n") from None


def _unavailable(reason: str) -> ViewError:
    return ViewError("503 Service Unavailable", f"{reason}\n", (("Retry-After", "5"),))


def _too_late(result: object, seconds: float) -> None:
    raise CancelledError(f"ZooKeeper did not reply within {seconds:g} s")


def _raise(error: ViewError, environ: dict[str, Any]) -> str:
    raise error
