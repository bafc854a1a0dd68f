"""Health checks of the application, repeated at an interval.

One result does not change the state: it takes ``fall`` failures in a row to become unhealthy and
``rise`` successes in a row to become healthy again.  Only at the start one success is enough, so
that the registration does not wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.errors import UnhealthyError
from zkservice.service.config import HealthSettings

#: Seconds for which, and bytes up to which, a response is read after the status line.
LINGER: Final = 1.0
MAX_RESPONSE: Final = 1 << 16
#: Bytes of the status line.
_MAX_LINE: Final = 1000


class HealthTracker:
    """Turns the results of checks into a state, without time and network.

    Args:
        rise: successes in a row that make an unhealthy service healthy.
        fall: failures in a row that make it unhealthy.
    """

    def __init__(self, rise: int, fall: int) -> None:
        self.healthy: bool | None = None  # None until it is known
        self._rise, self._fall = rise, fall
        self._contradictions = 0  # results in a row that differ from the state

    def record(self, good: bool) -> bool:
        """Count the result of a check; return whether the state has changed."""
        if good is self.healthy:
            self._contradictions = 0
            return False
        self._contradictions += 1
        if self.healthy is None:
            needed = 1 if good else self._fall
        else:
            needed = self._rise if good else self._fall
        if self._contradictions < needed:
            return False
        self.healthy, self._contradictions = good, 0
        return True


class HealthCheck:
    """Checks at an interval, and reports each change of the state.

    Args:
        settings: what to check and how often.
        check: makes a check: its Deferred fires on success, and fails with the reason otherwise.
        changed: called with the new state and the last reason.
        clock: tells the time.
    """

    def __init__(
        self,
        settings: HealthSettings,
        check: Callable[[], Deferred[Any]],
        changed: Callable[[bool, str], object],
        clock: IReactorTime,
    ) -> None:
        self.reason = ""
        self._settings = settings
        self._check = check
        self._changed = changed
        self._clock = clock
        self._tracker = HealthTracker(settings.rise, settings.fall)
        self._running_check: Deferred[Any] | None = None
        self._loop = LoopingCall(self._check_once)
        self._loop.clock = clock

    @property
    def healthy(self) -> bool | None:
        """Whether the service is healthy; None until it is known."""
        return self._tracker.healthy

    def start(self) -> Deferred[Any]:
        """Start with a check at once.  Fires after `stop`; fails if a check crashes."""
        return self._loop.start(self._settings.interval)

    def stop(self) -> None:
        """Stop checking; a check that runs is cancelled."""
        if self._loop.running:
            self._loop.stop()
        if self._running_check is not None:
            self._running_check.cancel()

    def _check_once(self) -> Deferred[None]:
        self._running_check = self._check().addTimeout(self._settings.timeout, self._clock)
        return self._running_check.addCallbacks(lambda _: self._record(True, ""), self._failed)

    def _failed(self, failure: Failure) -> None:
        if failure.check(TimeoutError, CancelledError):
            self._record(False, f"no response within {self._settings.timeout} s")
        else:
            self._record(False, failure.getErrorMessage() or type(failure.value).__name__)

    def _record(self, good: bool, reason: str) -> None:
        self._running_check = None
        self.reason = reason
        if self._loop.running and self._tracker.record(good):
            self._changed(good, reason)


def check_tcp(endpoint: IStreamClientEndpoint) -> Deferred[None]:
    """Check that a TCP connection succeeds."""
    return Deferred.fromCoroutine(_check_tcp(endpoint))


async def _check_tcp(endpoint: IStreamClientEndpoint) -> None:
    protocol: Any = await endpoint.connect(_quiet_factory(Protocol))
    protocol.transport.loseConnection()


def check_http(
    endpoint: IStreamClientEndpoint, path: str, host: str, clock: IReactorTime
) -> Deferred[None]:
    """GET a path from a host; fails unless the status is 2xx or 3xx.

    The rest of the response is read for a while, because many servers log an error if the client
    closes the connection too early.
    """
    return Deferred.fromCoroutine(_check_http(endpoint, path, host, clock))


async def _check_http(
    endpoint: IStreamClientEndpoint, path: str, host: str, clock: IReactorTime
) -> None:
    protocol: Any = await endpoint.connect(_quiet_factory(_StatusLine))
    try:
        # HTTP/1.0: the server closes the connection after one response.
        protocol.transport.write(
            f"GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: zkserve-health\r\n\r\n".encode()
        )
        line = await protocol.received
    except BaseException:
        protocol.transport.abortConnection()
        raise
    protocol.finish(clock)
    status = line.split(b" ")[1:2]
    if not line.startswith(b"HTTP/1.") or not status or status[0][:1] not in (b"2", b"3"):
        shown = status[0].decode("ascii", "replace") if status else repr(line)
        raise UnhealthyError(f"status {shown}")


class _StatusLine(Protocol):
    """Reads the first line of a response, and drops the rest."""

    transport: Any

    def __init__(self) -> None:
        self.received: Deferred[bytes] = Deferred(lambda _: None)
        self._data = b""
        self._dropped = 0  # bytes of the response after the first line
        self._end: IDelayedCall | None = None

    def finish(self, clock: IReactorTime) -> None:
        """Drop the rest of the response until the server closes, or close after a while."""
        if self.connected:
            self._end = clock.callLater(LINGER, self.transport.abortConnection)

    @override
    def dataReceived(self, data: bytes) -> None:
        if self.received.called:
            self._dropped += len(data)
            if self._dropped > MAX_RESPONSE:
                self.transport.abortConnection()
            return
        self._data += data
        line, end, _ = self._data.partition(b"\r\n")
        if (end or len(line) > _MAX_LINE) and not self.received.called:
            self.received.callback(line)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._end is not None and self._end.active():
            self._end.cancel()
        if not self.received.called:
            self.received.errback(UnhealthyError("the connection was closed without a response"))


def _quiet_factory(protocol: type[Protocol]) -> Factory[Any]:
    """A factory that does not log each connection."""
    factory: Factory[Any] = Factory.forProtocol(protocol)
    factory.noisy = False
    return factory
