"""Ask again and again whether what is served is well, and say so when that changes.

One answer is no verdict: it takes ``fall`` failures in a row to be ill and ``rise``
successes in a row to be well again; only the first verdict of all is made at the first
success, so that a start does not wait.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.errors import UnhealthyError


@dataclass(frozen=True)
class HealthSettings:
    """What to ask and how often.  Times are in seconds."""

    #: an HTTP path that answers 2xx or 3xx, or None: a TCP connection is enough
    path: str | None
    interval: float = 2.0
    timeout: float = 1.0
    #: successes in a row that make an ill service well
    rise: int = 2
    #: failures in a row that make a well service ill
    fall: int = 3


class HealthTracker:
    """Counts answers; knows no time and no network."""

    def __init__(self, rise: int, fall: int) -> None:
        self.healthy: bool | None = None  # None: not known yet
        self._rise, self._fall = rise, fall
        self._row = 0  # answers in a row that contradict the verdict

    def hear(self, good: bool) -> bool:
        """Count an answer; answers whether the verdict has changed."""
        if good is self.healthy:
            self._row = 0
            return False
        self._row += 1
        if self.healthy is None:
            needed = 1 if good else self._fall
        else:
            needed = self._rise if good else self._fall
        if self._row < needed:
            return False
        self.healthy, self._row = good, 0
        return True


class HealthCheck:
    """Asks at intervals, and reports each change of the verdict.

    Args:
        ask: fires when all is well, fails with the reason when it is not.
        changed: called with the new verdict and the last reason.
    """

    def __init__(
        self,
        settings: HealthSettings,
        ask: Callable[[], Deferred[Any]],
        changed: Callable[[bool, str], object],
        clock: IReactorTime,
    ) -> None:
        self.reason = ""
        self._settings = settings
        self._ask = ask
        self._changed = changed
        self._clock = clock
        self._tally = HealthTracker(settings.rise, settings.fall)
        self._asked: Deferred[Any] | None = None
        self._loop = LoopingCall(self._once)
        self._loop.clock = clock

    @property
    def healthy(self) -> bool | None:
        """The verdict; None until there is one."""
        return self._tally.healthy

    def start(self) -> Deferred[Any]:
        """Begin to ask, at once.  Fires when it was stopped; fails if it cannot go on."""
        return self._loop.start(self._settings.interval)

    def stop(self) -> None:
        """Ask no more."""
        if self._loop.running:
            self._loop.stop()
        if self._asked is not None:
            self._asked.cancel()

    def _once(self) -> Deferred[None]:
        self._asked = self._ask().addTimeout(self._settings.timeout, self._clock)
        return self._asked.addCallbacks(lambda _: self._hear(True, ""), self._failed)

    def _failed(self, failure: Failure) -> None:
        if failure.check(TimeoutError, CancelledError):
            self._hear(False, f"no answer within {self._settings.timeout} s")
        else:
            self._hear(False, failure.getErrorMessage() or type(failure.value).__name__)

    def _hear(self, good: bool, reason: str) -> None:
        self._asked = None
        self.reason = reason
        if self._loop.running and self._tally.hear(good):
            self._changed(good, reason)


def ask_tcp(endpoint: IStreamClientEndpoint) -> Deferred[None]:
    """Connect, and hang up."""
    return Deferred.fromCoroutine(_ask_tcp(endpoint))


async def _ask_tcp(endpoint: IStreamClientEndpoint) -> None:
    protocol: Any = await endpoint.connect(_quiet(Protocol))
    protocol.transport.abortConnection()


def ask_http(endpoint: IStreamClientEndpoint, path: str, host: str) -> Deferred[None]:
    """GET a path from a host; fails unless the status is 2xx or 3xx."""
    return Deferred.fromCoroutine(_ask_http(endpoint, path, host))


async def _ask_http(endpoint: IStreamClientEndpoint, path: str, host: str) -> None:
    protocol: Any = await endpoint.connect(_quiet(_StatusLine))
    try:
        # HTTP/1.0: one answer, and the server closes.
        protocol.transport.write(
            f"GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: zkserve-health\r\n\r\n".encode()
        )
        line = await protocol.come
    finally:
        protocol.transport.abortConnection()
    status = line.split(b" ")[1:2]
    if not line.startswith(b"HTTP/1.") or not status or status[0][:1] not in (b"2", b"3"):
        shown = status[0].decode("ascii", "replace") if status else repr(line)
        raise UnhealthyError(f"status {shown}")


class _StatusLine(Protocol):
    """Waits for the first line of an answer."""

    def __init__(self) -> None:
        self.come: Deferred[bytes] = Deferred(lambda _: None)
        self._data = b""

    @override
    def dataReceived(self, data: bytes) -> None:
        self._data += data
        line, end, _ = self._data.partition(b"\r\n")
        if (end or len(line) > 1000) and not self.come.called:
            self.come.callback(line)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.come.called:
            self.come.errback(UnhealthyError("the connection was closed without an answer"))


def _quiet(protocol: type[Protocol]) -> Factory[Any]:
    """A factory that says nothing in the log each time it is used."""
    factory: Factory[Any] = Factory.forProtocol(protocol)
    factory.noisy = False
    return factory
