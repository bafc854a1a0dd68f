"""The providers of a service, kept current, and remembered while ZooKeeper is away."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from typing_extensions import Self

from zkservice.client import State, Subscription, ZooKeeperClient
from zkservice.deferreds import Waiters
from zkservice.discovery.health import HealthRules, ProviderHealth, ProviderRecord, ProviderUse
from zkservice.discovery.mass_loss import MassLoss, MassLossGuard
from zkservice.discovery.members import Members
from zkservice.discovery.provider import Provider, Registered
from zkservice.discovery.remembered import RememberedProviders
from zkservice.discovery.strategies import RoundRobin, Strategy
from zkservice.errors import (
    ClientClosedError,
    FormatError,
    NoNodeError,
    NoProviderError,
)
from zkservice.formats import FORMATS
from zkservice.znodes import validate

__all__ = ["Resolver"]

Providers = tuple[Provider, ...]

#: Attempts to choose among all candidates; then those that were tried or ejected are left out.
MAX_CHOICES: Final = 8

DEFAULT_MASS_LOSS: Final = MassLoss()
DEFAULT_HEALTH: Final = HealthRules()

_CONNECTED: Final = (State.CONNECTED, State.READ_ONLY)


class Resolver:
    """Knows the providers of one service, and chooses among them.

    While there is no connection to ZooKeeper, it keeps the providers that it knew last.  `pick`
    never sends a request: the resolver reads again only what a watch has reported as changed.

    Args:
        client: need not be connected yet; `close` does not close it.
        path: the service's znode.  It may lead through symbolic links, and need not exist yet.
        formats: the names of the formats to expect.
        remember: True: keep the providers while there is no connection.  False: offer none
            then.  The name of a file: keep them there, too, for a start without ZooKeeper.
        mass_loss: when providers that vanish together are kept for a while; None: never.  With
            ``remember=False`` it has no effect.
        health: when a provider is ejected, and how slowly a new one starts.
        strategy: chooses a provider; None: round robin.
        reactor: tells the time; must be the reactor of the client.  None: the installed one.

    Raises:
        InvalidPathError: the path is invalid.
        ValueError: a format is unknown.
    """

    _log = Logger()

    def __init__(
        self,
        client: ZooKeeperClient,
        path: str,
        *,
        formats: Iterable[str] = FORMATS,
        remember: bool | str | os.PathLike[str] = True,
        mass_loss: MassLoss | None = DEFAULT_MASS_LOSS,
        health: HealthRules = DEFAULT_HEALTH,
        strategy: Strategy | None = None,
        reactor: Any = None,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor  # noqa: TID251 - the caller wants the default
        self.path = validate(path)
        self._client = client
        self._clock = reactor
        self._formats = _known_formats(formats)
        self._needs_connection = remember is False
        self._file = _file(remember, path, reactor)
        self._guard: MassLossGuard | None = None
        if mass_loss is not None and not self._needs_connection:
            self._guard = MassLossGuard(mass_loss, path, reactor, self._offer)
        self._health = ProviderHealth(health, path, reactor)
        self._strategy = strategy or RoundRobin()
        self._registered: Registered | None = None  # as read last; None before the first read
        self._offered: Mapping[str, Provider] = {}  # by address
        self._providers: Providers = ()  # the values of `_offered`
        self._following: tuple[Members, Subscription] | None = None
        self._changed: Waiters[Providers] = Waiters()

    def start(self) -> Deferred[Self]:
        """Begin to follow the service.  It may be called several times.

        Returns:
            Fires with this object when the registered providers are known: at once if a file
            remembers them.  It waits for a connection without a limit.  Cancelling it stops the
            waiting, not the resolver.

        Fails with:
            NoAuthError: the znode may not be read.  The resolver retries.
            ClientClosedError: the client is closed, or ``connect`` was never called.
        """
        if self._following is None:
            self._load()
            members = Members(self._client, self.path, self._clock, self._formats, self._update)
            self._following = members, self._client.subscribe(self._session_changed)
            current = members.when_current()
        elif self.known:
            return succeed(self)
        else:
            current = self._following[0].when_current()
        if self.known:
            current.addErrback(self._not_current)
            return succeed(self)
        return current.addCallback(lambda _: self)

    def close(self) -> Deferred[None]:
        """Stop following the service, and remove its watches and timers.

        ``providers`` stay as they were.  Deferreds that wait for a change fail with
        `ClientClosedError`.
        """
        if self._following is not None:
            members, subscription = self._following
            self._following = None
            subscription.cancel()
            members.stop()
        if self._guard is not None:
            self._guard.cancel()
        if self._file is not None:
            self._file.close()
        self._changed.fail(lambda: ClientClosedError(self.path, "the resolver was closed"))
        return succeed(None)

    @property
    def known(self) -> bool:
        """Whether the registered providers are known, from ZooKeeper or from a file."""
        return self._registered is not None or bool(self._offered)

    @property
    def providers(self) -> Providers:
        """All providers that are offered, in the order of their addresses' znodes."""
        return self._providers

    @property
    def doubtful(self) -> Providers:
        """Those of ``providers`` that are not registered at the moment.

        They vanished together with most others, or come from a file.
        """
        if self._registered is None:
            return self.providers
        return tuple(self._guard.doubtful.values()) if self._guard is not None else ()

    @property
    def stopping(self) -> Providers:
        """The providers that are registered as stopping; they are not in ``providers``."""
        return () if self._registered is None else tuple(self._registered.stopping.values())

    @property
    def error(self) -> Exception | None:
        """Why the path cannot be resolved; None if it can, or was not read yet."""
        return None if self._registered is None else self._registered.error

    @property
    def problems(self) -> tuple[FormatError, ...]:
        """Why other znodes below the path are not providers."""
        return self._registered.problems if self._registered is not None else ()

    @property
    def ejected(self) -> Providers:
        """Those of ``providers`` that are not used at the moment because they failed."""
        return tuple(self._health.ejected())

    def when_changed(self) -> Deferred[Providers]:
        """Fires with the providers at the next change.

        Changes are: the providers or their properties, which of them are ``doubtful``,
        ``stopping``, and the first reading.  Cancelling it stops the waiting.

        Fails with:
            ClientClosedError: `close` was called.  Closing the client does not end the wait.
        """
        return self._changed.add()

    def wait_for(self, count: int = 1) -> Deferred[Providers]:
        """Fires with the providers as soon as there are at least ``count``.

        It waits without a limit, like `when_changed`, and fails like it.
        """
        if len(self._offered) >= count:
            return succeed(self.providers)
        return Deferred.fromCoroutine(self._wait_for(count))

    def pick(
        self,
        tried: Collection[str] = (),
        *,
        strategy: Strategy | None = None,
        tls: bool | None = None,
    ) -> Provider:
        """Choose a provider.

        Args:
            tried: addresses not to choose.
            strategy: chooses instead of the resolver's own.
            tls: True: only providers that speak TLS; False: only those that do not; None: all.

        Raises:
            NoProviderError: there is no provider, or all were tried.
            LinkLoopError: there is no provider because the links of the path form a loop.
        """
        return self._choose(tried, strategy, tls).provider

    def use(
        self,
        tried: Collection[str] = (),
        *,
        strategy: Strategy | None = None,
        tls: bool | None = None,
    ) -> ProviderUse:
        """Choose a provider, and report afterwards how the use went.

        Strategies such as least-connections count these uses, and failed uses eject a provider.
        Arguments and errors are those of `pick`.
        """
        return self._health.use(self._choose(tried, strategy, tls))

    # -- choosing ------------------------------------------------------------------------

    def _choose(
        self, tried: Collection[str], strategy: Strategy | None, tls: bool | None
    ) -> ProviderRecord:
        strategy = strategy or self._strategy
        candidates = self._health.candidates(tls=tls)
        # A strategy keeps what it has computed for a tuple of candidates.  Leaving some out makes
        # another tuple, for which it computes everything again.  Choosing again is cheaper.
        for _ in range(MAX_CHOICES if candidates else 0):
            chosen = strategy.choose(candidates)
            if chosen.provider.address not in tried and not self._health.is_ejected(chosen):
                return chosen
        untried = self._health.candidates(tried, tls)
        if not untried:
            raise self._no_provider(tls)
        return strategy.choose(untried)

    def _no_provider(self, tls: bool | None) -> Exception:
        """Why there is no provider."""
        registered = self._registered
        if self._offered:
            if tls is not None and all(one.tls is not tls for one in self._providers):
                kind = "speaks TLS" if tls else "speaks plain TCP"
                return NoProviderError(
                    self.path, f"none of the {len(self._providers)} providers {kind}"
                )
            return NoProviderError(self.path, "all providers were tried")
        if registered is None:
            return NoProviderError(self.path, "ZooKeeper has not replied yet")
        if registered.error is None or isinstance(registered.error, NoNodeError):
            return NoProviderError(self.path, registered.why_none())
        return registered.error.with_traceback(None)

    async def _wait_for(self, count: int) -> Providers:
        while len(self._offered) < count:
            await self._changed.add()
        return self.providers

    # -- what is registered ------------------------------------------------------------------

    def _load(self) -> None:
        if self._file is not None and self._registered is None:
            self._set_offered(self._file.load())

    def _update(self, registered: Registered) -> None:
        error, before, doubtful = registered.error, self._registered, self.doubtful
        if error is not None and (before is None or str(before.error) != str(error)):
            self._log.info("{path} cannot be resolved: {error}", path=self.path, error=error)
        self._registered = registered
        if self._guard is not None:
            if before is None and not registered.providers:
                # Nothing is registered, so the providers of the file count as just lost.  If
                # anything is registered, the file is ignored, since it may be old.
                self._guard.update(Registered(self._offered))
            self._guard.update(registered)
        if not self._offer() and (
            registered.differs_for_waiters(before) or self.doubtful != doubtful
        ):
            self._changed.fire(self.providers)

    def _offer(self) -> bool:
        """Offer the registered and the doubtful providers; return whether that is a change."""
        registered = self._registered or Registered()
        doubtful = self._guard.doubtful if self._guard is not None else {}
        changed = self._set_offered({**registered.providers, **doubtful})
        if self._file is not None and not doubtful:
            self._file.remember(self._offered.values())
        return changed

    def _set_offered(self, providers: Mapping[str, Provider]) -> bool:
        if providers == self._offered:
            return False
        self._offered, self._providers = providers, tuple(providers.values())
        self._health.update(providers)
        self._changed.fire(self.providers)
        return True

    def _session_changed(self, state: State) -> None:
        if self._needs_connection and state not in _CONNECTED:
            self._set_offered({})
        elif self._needs_connection and self._following is not None:
            # Read again: if nothing has changed meanwhile, no watch fires.
            self._following[0].when_current().addErrback(self._not_current)

    def _not_current(self, failure: Any) -> None:
        self._log.debug(
            "{path}: not read yet: {error}", path=self.path, error=failure.getErrorMessage()
        )


def _known_formats(formats: Iterable[str]) -> tuple[str, ...]:
    known = tuple(formats)
    for name in known:
        if name not in FORMATS:
            raise ValueError(f"format {name!r} is unknown; expected one of {', '.join(FORMATS)}")
    return known


def _file(
    remember: bool | str | os.PathLike[str], path: str, clock: Any
) -> RememberedProviders | None:
    if isinstance(remember, bool):
        return None
    return RememberedProviders(remember, path, clock)
