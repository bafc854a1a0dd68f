"""Overload: the limit of the queue and storage errors, logged without a line for each request."""

from __future__ import annotations

from math import inf
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zkservice.errors import BodyStorageError
from zkservice.web.workers import Workers

__all__ = ["QueueLimit", "StorageWarning"]

#: Seconds between two log lines about bodies that cannot be stored.
_INTERVAL: Final = 60.0


class QueueLimit:
    """Decides whether there are too many requests that wait for a thread.

    Args:
        workers: the threads.
        limit: the number of requests that may wait.
    """

    _log = Logger()

    def __init__(self, workers: Workers, limit: int) -> None:
        self._workers = workers
        self._limit = limit
        self._logged = False

    @property
    def reached(self) -> bool:
        """Whether no more requests are accepted.

        The first time it is reached is logged, and when the queue is half empty again.
        """
        queued = self._workers.queued
        if queued < self._limit:
            if self._logged and queued <= self._limit // 2:
                self._logged = False
                self._log.info("the queue is short again; requests are accepted")
            return False
        if not self._logged:
            self._logged = True
            self._log.warn(
                "{queued} requests wait for a thread; further ones get 503", queued=queued
            )
        return True


class StorageWarning:
    """Logs that request bodies cannot be stored, once a minute.

    Args:
        clock: tells the time.
        memory: bytes of a body that need no storage.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, memory: int) -> None:
        self._clock = clock
        self._memory = memory
        self._logged_at = -inf

    def failed(self, error: BodyStorageError) -> None:
        """Log that a request body could not be stored, at most once a minute."""
        now = self._clock.seconds()
        if now - self._logged_at >= _INTERVAL:
            self._logged_at = now
            self._log.warn(
                "request bodies above {memory} bytes are refused with {status}: {detail}",
                memory=self._memory,
                status=error.status,
                detail=error.detail,
            )
