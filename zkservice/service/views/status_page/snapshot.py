"""Everything that the page shows, of one moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.defer import Deferred, gatherResults

from zkservice.client import ZooKeeperClient
from zkservice.registry import Registration, RegistrationState
from zkservice.service.state.facts import describe_registration, describe_session
from zkservice.service.state.figures import Figures
from zkservice.service.state.history import History, Period
from zkservice.service.state.process_report import ProcessReport
from zkservice.service.views.status_page.recent import (
    ErrorCounts,
    Happening,
    Happenings,
    LoggedError,
)
from zkservice.service.views.status_page.surroundings import Surroundings
from zkservice.wire.session import State

__all__ = ["Neighbourhood", "Observer", "PageSource", "Snapshot"]

_GOOD: Final = frozenset({State.CONNECTED, RegistrationState.REGISTERED})
_BAD: Final = frozenset(
    {
        *(State.SUSPENDED, State.EXPIRED, State.AUTH_FAILED),
        *(RegistrationState.FAILING, RegistrationState.CONTESTED, RegistrationState.OUT),
    }
)


@dataclass(frozen=True)
class PageSource:
    """What the page shows of the service.

    Attributes:
        status: returns the state of everything, as plain values.
        figures: returns what everything is doing.
        why_not_ready: returns why the service is not ready; "" if it is.
        history: of the last ten minutes.
        inspect: sends a request of `Inspector` to the serving processes.
    """

    status: Callable[[], Mapping[str, Any]]
    figures: Callable[[], Figures]
    why_not_ready: Callable[[], str]
    history: History
    inspect: Callable[[str], Deferred[list[ProcessReport]]]


@dataclass(frozen=True)
class Neighbourhood:
    """What the client has read from ZooKeeper.

    Attributes:
        session: as `describe_session` has it.
        registrations: as `describe_registration` has them.
        siblings, more_siblings, tree, tree_truncated, edges, problem: as `Surroundings` has them.
    """

    session: Mapping[str, Any]
    session_events: Sequence[Happening]
    registrations: Sequence[Mapping[str, Any]]
    siblings: Sequence[Mapping[str, Any]]
    more_siblings: int
    sibling_events: Sequence[Happening]
    tree: Sequence[Mapping[str, Any]]
    tree_truncated: bool
    edges: Sequence[tuple[str, str]]
    problem: str


@dataclass(frozen=True)
class Snapshot:
    """The state of a service at one moment.

    Attributes:
        now: seconds since the epoch.
        not_ready: why the service is not ready; "" if it is.
        stacks, requests: of each serving process, as `Inspector` has them.
        around: None before there is a session.
    """

    now: float
    status: Mapping[str, Any]
    figures: Figures | None
    not_ready: str
    periods: Sequence[Period] = ()
    last_minute: Period | None = None
    stacks: Sequence[ProcessReport] = ()
    requests: Sequence[ProcessReport] = ()
    errors: Sequence[LoggedError] = ()
    error_total: int = 0
    around: Neighbourhood | None = field(default=None)


class Observer:
    """Takes snapshots of a service, and remembers what has changed.

    Args:
        source: the service.
        reactor: tells the time.
    """

    def __init__(self, source: PageSource, reactor: Any) -> None:
        self.errors = ErrorCounts()
        self._source = source
        self._reactor = reactor
        self._session_events = Happenings(reactor.seconds)
        self._sibling_events = Happenings(reactor.seconds)
        self._client: ZooKeeperClient | None = None
        self._registrations: Callable[[], Sequence[Registration]] = tuple
        self._reasons: Callable[[], Sequence[str]] = tuple
        self._surroundings: Surroundings | None = None

    def follow(
        self,
        client: ZooKeeperClient,
        registrations: Callable[[], Sequence[Registration]],
        reasons: Callable[[], Sequence[str]],
    ) -> None:
        """Record the state changes of a session and its registrations.

        Args:
            reasons: returns why the addresses are not registered.
        """
        self._client, self._registrations, self._reasons = client, registrations, reasons
        events = self._session_events
        client.subscribe(
            lambda state: events.add(f"session: {state.name.lower()}", _verdict(state))
        )
        for each in registrations():
            each.subscribe(
                lambda change: events.add(
                    f"registration: {change.state.value}", _verdict(change.state)
                )
            )
        self._surroundings = Surroundings(
            client,
            lambda: registrations()[0].real_parent,
            self._reactor,
            self._sibling_events,
        )

    def stop(self) -> None:
        """Stop reading from ZooKeeper."""
        if self._surroundings is not None:
            self._surroundings.stop()

    async def snapshot(self) -> Snapshot:
        """What everything is doing now."""
        source = self._source
        stacks, requests = await gatherResults(
            [source.inspect("stacks"), source.inspect("requests")]
        )
        return Snapshot(
            now=self._reactor.seconds(),
            status=source.status(),
            figures=source.figures(),
            not_ready=source.why_not_ready(),
            periods=source.history.periods(),
            last_minute=source.history.last(),
            stacks=stacks,
            requests=requests,
            errors=self.errors.latest(),
            error_total=self.errors.total,
            around=self._around(),
        )

    def _around(self) -> Neighbourhood | None:
        around = self._surroundings
        if self._client is None or around is None:
            return None
        around.keep_reading()
        return Neighbourhood(
            session=describe_session(self._client),
            session_events=self._session_events.latest(),
            registrations=[
                describe_registration(each, self._reasons()) for each in self._registrations()
            ],
            siblings=around.siblings,
            more_siblings=around.more_siblings,
            sibling_events=self._sibling_events.latest(),
            tree=around.tree,
            tree_truncated=around.tree_truncated,
            edges=around.edges,
            problem=around.problem,
        )


def _verdict(state: State | RegistrationState) -> bool | None:
    """Whether a state is good; None if it is neither good nor bad."""
    return True if state in _GOOD else False if state in _BAD else None
