"""What metrics count of each response.

This is on the path of every request.  So a response is only noted when it ends, and many are
counted together, which costs a fifth of counting each.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

__all__ = ["Durations", "ResponseTally", "ResponseTotals"]

#: Responses that are counted together: some 0.5 ms of the reactor's time.
_BATCH: Final = 1024


class Durations:
    """A histogram of times.

    Args:
        bounds: the cells' upper bounds in seconds, ascending; a last cell has the rest.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.cells = [0] * (len(self.bounds) + 1)
        self.total = 0.0  #: seconds, of all of them

    def add(self, times: Iterable[float]) -> None:
        """Count some times."""
        ascending = sorted(times)
        done = 0
        for cell, bound in enumerate(self.bounds):
            end = bisect_right(ascending, bound, done)
            self.cells[cell] += end - done
            done = end
        self.cells[-1] += len(ascending) - done
        self.total += sum(ascending)


class ResponseTotals:
    """All responses since the start.

    Args:
        bounds: see ``Durations``.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        #: By method and status; the method is "" where there was no valid request.
        self.responses: Counter[tuple[str, int]] = Counter()
        self.body_bytes = 0
        self.waiting = Durations(bounds)  #: for a thread
        self.application = Durations(bounds)  #: in the application, or in a view


class ResponseTally:
    """Counts responses (reactor thread).

    Args:
        bounds: see ``Durations``.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._totals = ResponseTotals(bounds)
        self._noted: list[tuple[str, int, int, float, float]] = []

    def count(
        self, method: str, status: int, body_bytes: int, waited: float, application: float
    ) -> None:
        """Count a response that has ended; times are seconds."""
        noted = self._noted
        noted.append((method, status, body_bytes, waited, application))
        if len(noted) == _BATCH:
            self._add_noted()

    def count_refusal(self, status: int) -> None:
        """Count a client that was refused before it had sent a request."""
        self._totals.responses["", status] += 1

    @property
    def totals(self) -> ResponseTotals:
        """All responses until now."""
        if self._noted:
            self._add_noted()
        return self._totals

    def _add_noted(self) -> None:
        methods, statuses, sizes, waited, application = zip(*self._noted, strict=True)
        self._noted.clear()
        totals = self._totals
        totals.responses.update(zip(methods, statuses, strict=True))
        totals.body_bytes += sum(sizes)
        totals.waiting.add(waited)
        totals.application.add(application)
