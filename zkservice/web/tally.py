"""What is counted of each response, and how the times are kept.

This is on the path of every request.  So a response is only noted when it ends, and many are
counted together, which costs a fraction of counting each.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from operator import sub
from typing import Final

from twisted.internet.interfaces import IReactorTime

from zkservice.deferreds import Alarm

__all__ = [
    "BATCH",
    "BOUNDS",
    "DURATIONS",
    "Durations",
    "LagProbe",
    "ResponseTally",
    "ResponseTotals",
]

#: Seconds, the same for every time that is counted: nine to a decade, so that a percentile that is
#: interpolated between two of them is off by a quarter at most.
BOUNDS: Final = (
    *(
        float(f"{mantissa}e{exponent}")
        for exponent in range(-4, 1)
        for mantissa in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7.5)
    ),
    *(10.0, 15.0, 20.0, 30.0, 45.0, 60.0),
)

#: Responses that are counted together: less than 1 ms of the reactor's time.
BATCH: Final = 1024
#: Types of exceptions that are counted apart; others are counted together.
_MAX_TYPES: Final = 32
_MAX_TYPE_NAME: Final = 64
#: Seconds between two looks at how late the reactor is.
_LOOK: Final = 0.5


class Durations:
    """A histogram of times.

    Args:
        bounds: the cells' upper bounds in seconds, ascending; a last cell has the rest.
    """

    def __init__(self, bounds: Sequence[float] = BOUNDS) -> None:
        self.bounds = tuple(bounds)
        self.cells = [0] * (len(self.bounds) + 1)
        self.total = 0.0  #: seconds, of all of them

    def add(self, times: Sequence[float]) -> None:
        """Count some times."""
        if not times:
            return
        bounds, cells = self.bounds, self.cells
        first, last = bisect_left(bounds, min(times)), bisect_left(bounds, max(times))
        self.total += sum(times)
        if first == last:  # sorting costs ten times as much
            cells[last] += len(times)
            return
        ascending = sorted(times)
        done = 0
        for cell in range(first, last):
            end = bisect_right(ascending, bounds[cell], done)
            cells[cell] += end - done
            done = end
        cells[last] += len(ascending) - done

    def merge(self, cells: Sequence[int], total: float) -> None:
        """Add what another histogram of the same bounds has."""
        self.cells = [mine + theirs for mine, theirs in zip(self.cells, cells, strict=True)]
        self.total += total


#: The histograms of ``ResponseTotals``, by their names.
DURATIONS: Final = ("waiting", "application", "sending", "duration", "lag")


class ResponseTotals:
    """All responses since the start, and how late the reactor was.

    The times are those of requests that the application has answered: views and refusals would
    hide them.

    Args:
        bounds: see ``Durations``.
    """

    def __init__(self, bounds: Sequence[float] = BOUNDS) -> None:
        #: By method and status; the method is "" where there was no valid request.
        self.responses: Counter[tuple[str, int]] = Counter()
        #: Clients that were refused before there was a request, by the status.
        self.refusals: Counter[int] = Counter()
        #: Failures of the application, by the type of the exception.
        self.exceptions: Counter[str] = Counter()
        self.body_bytes = 0  #: of responses
        self.request_bytes = 0  #: of the bodies of requests
        self.waiting = Durations(bounds)  #: for a thread
        self.application = Durations(bounds)  #: in the application
        self.sending = Durations(bounds)  #: until the client had taken the response
        self.duration = Durations(bounds)  #: the sum of the three
        self.lag = Durations(bounds)  #: how late calls of the reactor were

    def durations(self) -> list[Durations]:
        """The histograms, in the order of ``DURATIONS``."""
        return [self.waiting, self.application, self.sending, self.duration, self.lag]

    @property
    def errors(self) -> int:
        """Responses with a status of 500 or more."""
        return sum(count for (_, status), count in self.responses.items() if status >= 500)

    def count_exception(self, kind: str, count: int = 1) -> None:
        """Count failures of the application."""
        kind = kind[:_MAX_TYPE_NAME]
        if kind not in self.exceptions and len(self.exceptions) >= _MAX_TYPES:
            kind = "other"
        self.exceptions[kind] += count


class ResponseTally:
    """Counts responses (reactor thread).

    Args:
        bounds: see ``Durations``.
    """

    def __init__(self, bounds: Sequence[float] = BOUNDS) -> None:
        self._totals = ResponseTotals(bounds)
        #: Responses of the application that have ended, with the method, the status, bytes of the
        #: request's body and of the response's; when the request had come, the application began
        #: and ended, and the client had taken everything.  At ``BATCH`` they have to be added.
        self.noted: list[tuple[str, int, int, int, float, float, float, float]] = []

    def count(
        self, method: str, status: int, request_bytes: int, body_bytes: int, waited: float | None
    ) -> None:
        """Count a response that the application has not made.

        Args:
            method, status, request_bytes, body_bytes: of the request and the response.
            waited: seconds for a thread, until the client left; None if it did not wait.
        """
        totals = self._totals
        totals.responses[method, status] += 1
        totals.request_bytes += request_bytes
        totals.body_bytes += body_bytes
        if waited is not None:
            totals.waiting.add([waited])
            totals.duration.add([waited])

    def count_refusal(self, status: int) -> None:
        """Count a client that was refused before it had sent a request."""
        self._totals.responses["", status] += 1
        self._totals.refusals[status] += 1

    def count_exception(self, kind: str) -> None:
        """Count a failure of the application."""
        self._totals.count_exception(kind)

    @property
    def totals(self) -> ResponseTotals:
        """All responses until now."""
        self.add_noted()
        return self._totals

    def add_noted(self) -> None:
        """Add what was noted to the totals."""
        if not self.noted:
            return
        methods, statuses, requests, bodies, received, began, ended, sent = zip(
            *self.noted, strict=True
        )
        self.noted.clear()
        totals = self._totals
        totals.responses.update(zip(methods, statuses, strict=True))
        totals.request_bytes += sum(requests)
        totals.body_bytes += sum(bodies)
        totals.waiting.add(list(map(sub, began, received)))
        totals.application.add(list(map(sub, ended, began)))
        totals.sending.add(list(map(sub, sent, ended)))
        totals.duration.add(list(map(sub, sent, received)))


class LagProbe:
    """Measures how late the reactor makes its calls: what every client waits for as well.

    Args:
        clock: the reactor.
        now: seconds of a clock that is never set.
        lag: where the times are counted.
    """

    def __init__(
        self, clock: IReactorTime, now: Callable[[], float], lag: Callable[[], Durations]
    ) -> None:
        self._alarm = Alarm(clock, self._look)
        self._now = now
        self._lag = lag
        self._due: float | None = None

    def start(self) -> None:
        """Measure from the first call on: until then the reactor may not even run."""
        self._alarm.set(_LOOK)

    def stop(self) -> None:
        """Measure no more."""
        self._alarm.cancel()

    def _look(self) -> None:
        now = self._now()
        if self._due is not None:
            self._lag().add([max(0.0, now - self._due)])
        self._due = now + _LOOK
        self._alarm.set(_LOOK)
