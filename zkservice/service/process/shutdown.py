"""Shutdown in steps, each with a time limit; a second signal cuts all of them short."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger

__all__ = ["Shutdown"]

#: Seconds for each step after a second signal.
_CUT_SHORT: Final = 0.01


class Shutdown:
    """Waits for the steps of a shutdown, each up to a time limit, also if one fails.

    Attributes:
        at_once: whether all steps are cut short.
    """

    _log = Logger()

    def __init__(self, clock: Any) -> None:
        self.at_once = False
        self._pauses_wanted = True
        self._pause: Deferred[None] | None = None
        self._clock = clock
        self._started_at = 0.0
        self._step: Deferred[Any] | None = None

    def begin(self) -> None:
        """Start to measure the time."""
        self._started_at = self._clock.seconds()

    @property
    def lasted(self) -> float:
        """Seconds since `begin`."""
        return float(self._clock.seconds() - self._started_at)

    def cut_short(self) -> None:
        """Cut the running step and all later ones short."""
        self._log.warn("second signal: stopping at once")
        self.at_once = True
        if self._step is not None:
            self._step.cancel()

    def skip_pauses(self) -> None:
        """End the running pause, and skip all later ones."""
        self._pauses_wanted = False
        if self._pause is not None and not self._pause.called:
            self._pause.callback(None)

    async def step(self, what: str, step: Deferred[Any], seconds: float) -> None:
        """Wait for a step, at most so many seconds; then it is cancelled.  An error is logged.

        Args:
            what: the step's name for the log.
            step: fires when the step is done.
            seconds: its time limit.
        """
        self._step = step
        limit = _CUT_SHORT if self.at_once else seconds
        try:
            await step.addTimeout(limit, self._clock)
        except (TimeoutError, CancelledError):
            reason = "a second signal" if self.at_once else f"it took longer than {limit:g} s"
            self._log.warn("{what} was cut short: {reason}", what=what, reason=reason)
        except Exception as error:  # noqa: BLE001 - the shutdown goes on
            reason = f"{type(error).__name__}: {error}"
            self._log.warn("{what} was cut short: {reason}", what=what, reason=reason)
        finally:
            self._step = None

    async def pause(self, what: str, seconds: float) -> None:
        """Wait for so many seconds; not at all after `skip_pauses` or `cut_short`."""
        if self._pauses_wanted and not self.at_once:
            self._pause = Deferred()
            self._pause.addTimeout(seconds, self._clock, lambda result, _: None)
            await self.step(what, self._pause, seconds + 1)
