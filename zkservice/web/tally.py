"""What is counted of each response, and how the times are kept.

This is on the path of every request.  So a response is only noted when it ends, and many are
counted together, which costs a fraction of counting each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from operator import sub
from struct import pack, unpack
from time import time
from typing import Any, Final, NamedTuple

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zkservice.deferreds import Alarm

__all__ = [
    "BATCH",
    "BOUNDS",
    "DURATIONS",
    "Durations",
    "LagProbe",
    "RequestExample",
    "ResponseTally",
    "ResponseTotals",
]

#: Cells of a histogram, the last one included, which has all times above 64 s.
_CELLS: Final = 85
#: The upper bounds of the cells, in seconds, for all histograms.  There are four between a time and
#: its double, so a percentile that is interpolated in a cell is off by a fifth at most.  They are
#: the numbers in half precision (IEEE 754 binary16) whose low byte is 0.  So the cell of a time is
#: the high byte of its half-precision form: the exponent and two bits of the mantissa.
BOUNDS: Final[tuple[float, ...]] = tuple(
    unpack("<e", bytes([0, cell]))[0] for cell in range(1, _CELLS)
)

#: Values that are noted of each response, see ``ResponseTally.noted``.
_FIELDS: Final = 8
#: Values that are counted together, of 1024 responses: less than 1 ms of the reactor's time.
BATCH: Final = 1024 * _FIELDS
#: Types of exceptions that are counted separately; others are counted together.
_MAX_TYPES: Final = 32
_MAX_TYPE_NAME: Final = 64
#: Seconds between two measurements of how late the reactor is.
_PROBE_INTERVAL: Final = 0.5
#: Seconds: a delay of the reactor that is logged, and the time between two such log lines.
_STANDSTILL: Final = 1.0
_LOG_INTERVAL: Final = 60.0


class Durations:
    """A histogram of times; see ``BOUNDS``.

    Attributes:
        cells: how many times there are up to each of the bounds; a last cell has the rest.
        total: seconds, of all of them.
    """

    def __init__(self) -> None:
        self.cells = [0] * _CELLS
        self.total = 0.0

    def add(self, times: Sequence[float]) -> bytes:
        """Count some times.  One that is within 0.05 % of a bound may be on its other side.

        Returns:
            The number of the cell for each of them.
        """
        self.total += sum(times)
        form = f"<{len(times)}e"
        try:
            numbers = pack(form, *times)
        except OverflowError:  # one is above 18 hours
            numbers = pack(form, *(min(each, 1000.0) for each in times))
        cells = numbers[1::2]  # the high bytes; slicing, set() and count() are fast, being in C
        for cell in set(cells):
            self.cells[min(cell, _CELLS - 1)] += cells.count(cell)
        return cells

    def merge(self, cells: Sequence[int], total: float) -> None:
        """Add what another histogram has."""
        self.cells = [mine + theirs for mine, theirs in zip(self.cells, cells, strict=True)]
        self.total += total


#: The histograms of ``ResponseTotals``, by their names.
DURATIONS: Final = ("waiting", "application", "sending", "duration", "lag")


class RequestExample(NamedTuple):
    """A request that took as long as others in a cell of a histogram, and when it was counted."""

    request_id: str
    seconds: float
    at: float


class ResponseTotals:
    """All responses since the start, and how late the reactor was.

    The times are those of the application's responses only: views and refusals would distort
    them.
    """

    def __init__(self) -> None:
        #: By method and status; the method is "" where there was no valid request.
        self.responses: Counter[tuple[str, int]] = Counter()
        #: Clients that were refused before there was a request, by the status.
        self.refusals: Counter[int] = Counter()
        #: Failures of the application, by the type of the exception.
        self.exceptions: Counter[str] = Counter()
        self.body_bytes = 0  #: of responses
        self.request_bytes = 0  #: of the bodies of requests
        self.waiting = Durations()  #: for a thread
        self.application = Durations()  #: in the application
        self.sending = Durations()  #: to clients that were slow to take a response
        self.duration = Durations()  #: the sum of the first two
        #: The latest request with an id for each cell of ``duration``.
        self.examples: dict[int, RequestExample] = {}
        self.lag = Durations()  #: how late calls of the reactor were

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
        now: seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float] = time) -> None:
        self._now = now
        self._totals = ResponseTotals()
        # For each response of the application that has ended, _FIELDS values: the method, the
        # status, bytes of the request's body and of the response's, the times at which the request
        # was complete and the application began and ended, the request's id or "".  They are in
        # one flat list, because the garbage collector would track a tuple for each.  The code that
        # appends must call ``add_noted`` once there are BATCH values.
        self.noted: list[Any] = []

    def count(
        self, method: str, status: int, request_bytes: int, body_bytes: int, waited: float | None
    ) -> None:
        """Count a response that the server has made, not the application.

        Args:
            method, status, request_bytes, body_bytes: of the request and the response.
            waited: seconds in the queue for a thread, until the client left; None if not queued.
        """
        totals = self._totals
        totals.responses[method, status] += 1
        totals.request_bytes += request_bytes
        totals.body_bytes += body_bytes
        if waited is not None:
            totals.waiting.add([waited])
            totals.duration.add([waited])

    def count_sending(self, seconds: float) -> None:
        """Count how long a slow client took to receive its response."""
        self._totals.sending.add([seconds])

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
        noted = self.noted
        methods, statuses, requests, bodies, received, began, ended, ids = (
            noted[field::_FIELDS] for field in range(_FIELDS)
        )
        noted.clear()
        totals = self._totals
        if methods.count(methods[0]) == len(methods):  # nearly always, and three times as fast
            for status, count in Counter(statuses).items():
                totals.responses[methods[0], status] += count
        else:
            totals.responses.update(zip(methods, statuses, strict=True))
        totals.request_bytes += sum(requests)
        totals.body_bytes += sum(bodies)
        totals.waiting.add(list(map(sub, began, received)))
        totals.application.add(list(map(sub, ended, began)))
        times = list(map(sub, ended, received))
        cells = totals.duration.add(times)
        if ids[-1]:
            now = self._now()
            for cell in set(cells):
                last = cells.rindex(cell)
                example = RequestExample(ids[last], times[last], now)
                totals.examples[min(cell, _CELLS - 1)] = example


class LagProbe:
    """Measures how late the reactor makes its calls; every client waits at least that long.

    Args:
        clock: the reactor.
        now: seconds of a monotonic clock.
        lag: returns the histogram that counts the delays.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, now: Callable[[], float], lag: Callable[[], Durations]
    ) -> None:
        self._alarm = Alarm(clock, self._probe)
        self._now = now
        self._lag = lag
        self._due: float | None = None
        self._logged_at = -inf
        self._longest_logged = 0.0

    def start(self) -> None:
        """Measure from the first call on: until then the reactor may not even run."""
        self._alarm.set(_PROBE_INTERVAL)

    def stop(self) -> None:
        """Stop measuring."""
        self._alarm.cancel()

    def _probe(self) -> None:
        now = self._now()
        if self._due is not None:
            late = max(0.0, now - self._due)
            self._lag().add([late])
            if late >= _STANDSTILL:
                self._log_standstill(now, late)
        self._due = now + _PROBE_INTERVAL
        self._alarm.set(_PROBE_INTERVAL)

    def _log_standstill(self, now: float, seconds: float) -> None:
        """Log a standstill; within a minute, only one that is longer."""
        if now - self._logged_at < _LOG_INTERVAL and seconds <= self._longest_logged:
            return
        self._logged_at, self._longest_logged = now, seconds
        self._log.warn(
            "this process stood still for {seconds:.1f} s: it was suspended, or a call blocked "
            "its reactor; clients and the ZooKeeper session had to wait",
            seconds=seconds,
        )
