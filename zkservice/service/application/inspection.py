"""What operators can ask of each serving process: this one, or each worker through its parent."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from threading import get_ident
from typing import Any, Final

from twisted.internet.defer import Deferred

from zkservice.errors import ConfigurationError
from zkservice.service.application.server import ApplicationServer
from zkservice.service.process.loggers import logger_level
from zkservice.stacks import StackSampler, thread_stacks
from zkservice.web import running_requests

__all__ = ["Inspector"]

#: Requests and threads in one reply; the reply has the number of those that are left out.
_MAX_REQUESTS: Final = 1000
_MAX_THREADS: Final = 500
#: Seconds that a profile may take, and between two of its samples.
MAX_PROFILE: Final = 60.0
_SAMPLE_INTERVAL: Final = 0.01
#: Types that `Inspector.garbage` names.
_MAX_TYPES: Final = 20


class Inspector:
    """Describes what a process is doing, in values that JSON can express.

    Args:
        server: the process's application server.
        reactor: the process's reactor.
    """

    def __init__(self, server: ApplicationServer, reactor: Any) -> None:
        self._server = server
        self._reactor = reactor
        self._sampler: StackSampler | None = None
        self._operator_drains = False  # whether an operator has started the drain
        self._requests: Mapping[str, Callable[..., Any]] = {
            "requests": self.requests,
            "stacks": self.stacks,
            "profile": self.profile,
            "garbage": self.garbage,
            "log level": self.log_level,
            "trace log": self.trace_log,
            "drain connections": self.drain_connections,
            "connections": self.connections,
        }

    def knows(self, what: str) -> bool:
        """Whether there is a request of this name."""
        return what in self._requests

    def answer(self, what: str, arguments: list[Any]) -> Any:
        """Return the reply to a request, or a Deferred for it.

        Raises:
            LookupError: there is no such request.
            ConfigurationError: an argument is invalid.
        """
        return self._requests[what](*arguments)

    def requests(self) -> dict[str, Any]:
        """The requests in service, the oldest first, and how many more there are."""
        shown, more = running_requests(self._server.factory.server, _MAX_REQUESTS)
        return {
            "requests": [{**asdict(each), "waits_for": each.waits_for} for each in shown],
            "more": more,
        }

    def stacks(self) -> dict[str, Any]:
        """The stacks of all threads; the application's threads with their requests."""
        running = {each.thread: each for each in self._server.workers.running()}
        found = thread_stacks()
        threads = []
        for each in found[:_MAX_THREADS]:
            worker = running.get(each.name)
            threads.append(
                {
                    "name": each.name,
                    "idle": each.idle if worker is None else worker.job is None,
                    "here": each.ident == get_ident(),  # the thread of this method, the reactor's
                    "job": "" if worker is None or worker.job is None else str(worker.job),
                    "seconds": None if worker is None or worker.job is None else worker.seconds,
                    "stuck": worker is not None and worker.stuck,
                    "stack": [asdict(place) for place in each.stack],
                }
            )
        return {"threads": threads, "more": len(found) - len(threads)}

    def profile(self, seconds: float) -> Deferred[str]:
        """Sample the stacks of all threads for some seconds, and return them folded.

        Raises:
            ConfigurationError: the time is out of range, or another profile is being taken.
        """
        if not 0 < seconds <= MAX_PROFILE:
            raise ConfigurationError(f"a profile takes at most {MAX_PROFILE:g} seconds")
        if self._sampler is not None:
            raise ConfigurationError("a profile is being taken already")
        sampler = self._sampler = StackSampler(seconds, _SAMPLE_INTERVAL)
        done: Deferred[str] = Deferred(lambda _: sampler.stop())

        def finish(folded: str) -> None:
            self._sampler = None
            if not done.called:
                done.callback(folded)

        sampler.start(lambda folded: self._reactor.callFromThread(finish, folded))
        return done

    def garbage(self, collect: bool = False, types: bool = False) -> dict[str, Any]:
        """The state of the garbage collector.  Both options stop the process while they run.

        Args:
            collect: collect all garbage first.
            types: count the objects by their types.
        """
        found: dict[str, Any] = {}
        if collect:
            began = self._server.workers.now()
            found["collected"] = gc.collect()
            found["seconds"] = self._server.workers.now() - began
        found |= {
            "enabled": gc.isenabled(),
            "counts": list(gc.get_count()),
            "thresholds": list(gc.get_threshold()),
            "collections": [each["collections"] for each in gc.get_stats()],
            "uncollectable": len(gc.garbage),
        }
        if types:
            counted = Counter(type(each).__qualname__ for each in gc.get_objects())
            found["types"] = [list(pair) for pair in counted.most_common(_MAX_TYPES)]
        return found

    def log_level(self, name: str, level: str = "") -> str:
        """Return the level of a logger of the standard library, after setting it if given.

        Raises:
            ConfigurationError: there is no such level.
        """
        return logger_level(name, level)

    def trace_log(self, on: bool | None = None) -> bool | None:
        """Return whether the trace log is on, after switching it; None if there is none."""
        trace = self._server.logs.trace
        if trace is not None and on is not None:
            trace.switch(on)
        return None if trace is None else trace.enabled

    def drain_connections(self, on: bool) -> None:
        """Close each connection after its next response, or stop doing so."""
        handler = self._server.factory.server.handler
        if on == handler.draining:
            return
        # A process that is about to end drains too; an operator cannot stop that.
        if on or self._operator_drains:
            handler.draining = self._operator_drains = on

    def connections(self, close_idle: bool = False) -> dict[str, int]:
        """Count connections and requests, after closing idle connections if asked to."""
        server = self._server.factory.server
        if close_idle:
            server.connections.close_idle()
        return {"connections": len(server.connections), "in_service": server.connections.serving}
