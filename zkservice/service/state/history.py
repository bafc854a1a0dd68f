"""The last ten minutes: numbers of requests and of failures, and their durations.

The totals since the start are sampled every few seconds.  The difference of two samples is what
happened in between.  So a request costs nothing more, and the sums over worker processes have a
history, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import sub
from typing import Any, Final

from twisted.logger import Logger

from zkservice.deferreds import Alarm
from zkservice.web import BOUNDS, ResponseTotals

__all__ = ["History", "Period", "quantile"]

#: Seconds between two samples, and the number of samples that are kept.
STEP: Final = 5.0
_SAMPLES: Final = 121


@dataclass(frozen=True)
class Period:
    """What happened in some seconds.  Times are seconds; None where there was no request.

    Attributes:
        end: seconds since the epoch.
        seconds: how long it was.
        requests: responses of the application per second.
        errors: responses with a status of 500 or more per second.
        p50, p99: half of the requests, and 99 of a hundred, took at most so long, including the
            wait for a thread.
        lag: the longest delay of the reactor.
    """

    end: float
    seconds: float
    requests: float
    errors: float
    p50: float | None
    p99: float | None
    lag: float | None


@dataclass(frozen=True)
class _Sample:
    """The totals since the start, at one moment."""

    at: float
    errors: int
    durations: Sequence[int]  #: the cells of the histogram of requests
    lag: Sequence[int]  #: the cells of the histogram of the reactor's delays

    def until(self, later: _Sample) -> Period:
        """What happened between this sample and a later one."""
        seconds = later.at - self.at
        seconds = seconds if seconds > 0 else STEP  # the clock was set
        durations = _difference(later.durations, self.durations)
        return Period(
            end=later.at,
            seconds=round(seconds, 3),
            requests=round(sum(durations) / seconds, 3),
            errors=round(max(0, later.errors - self.errors) / seconds, 3),
            p50=quantile(durations, 0.5),
            p99=quantile(durations, 0.99),
            lag=quantile(_difference(later.lag, self.lag), 1),
        )


class History:
    """Keeps samples of what is counted, for ten minutes.

    Args:
        clock: the reactor.
        totals: returns what was counted since the start.
    """

    _log = Logger()

    def __init__(self, clock: Any, totals: Callable[[], ResponseTotals]) -> None:
        self._clock = clock
        self._totals = totals
        self._samples: deque[_Sample] = deque(maxlen=_SAMPLES)
        self._alarm = Alarm(clock, self._take_sample)

    def start(self) -> None:
        """Start to take samples."""
        if not self._alarm.is_set:
            self._take_sample()

    def stop(self) -> None:
        """Stop taking samples."""
        self._alarm.cancel()

    def last(self, seconds: float = 60.0) -> Period | None:
        """The last seconds up to now; None before `start`.

        Args:
            seconds: at most ten minutes; rounded up to whole steps of 5 s, and limited to the time
                since the start.
        """
        if not self._samples:
            return None
        now = self._sample()
        begin = self._samples[0]
        for sample in self._samples:
            if sample.at > now.at - seconds:
                break
            begin = sample
        return begin.until(now)

    def periods(self) -> list[Period]:
        """The last ten minutes in steps of 5 s, the oldest first."""
        return [before.until(after) for before, after in pairwise(self._samples)]

    def _take_sample(self) -> None:
        self._alarm.set(STEP)
        try:
            self._samples.append(self._sample())
        except Exception:  # noqa: BLE001 - the next sample may succeed
            self._log.failure("cannot take a sample for the history")

    def _sample(self) -> _Sample:
        totals = self._totals()
        return _Sample(
            at=self._clock.seconds(),
            errors=totals.errors,
            durations=tuple(totals.duration.cells),
            lag=tuple(totals.lag.cells),
        )


def quantile(cells: Sequence[int], share: float) -> float | None:
    """A quantile of the times in a histogram.

    It is interpolated within a cell; in the last cell, which has no upper bound, it is the bound
    below.

    Returns:
        None if there are no times.
    """
    count = sum(cells)
    if not count:
        return None
    wanted, below, lower = count * share, 0, 0.0
    for cell, upper in zip(cells, BOUNDS, strict=False):
        if cell and below + cell >= wanted:
            # The cells are coarse: more digits would pretend to be exact.
            return float(f"{lower + (upper - lower) * (wanted - below) / cell:.3g}")
        below += cell
        lower = upper
    return BOUNDS[-1]


def _difference(later: Sequence[int], before: Sequence[int]) -> list[int]:
    return [max(0, each) for each in map(sub, later, before)]
