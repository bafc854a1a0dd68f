"""A pool of workers: started, replaced, reloaded, recycled, drained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel
from typing_extensions import override

from zkservice.deferreds import Waiters
from zkservice.supervisor.messages import LogLine
from zkservice.supervisor.process import Command, WorkerEvents, WorkerPhase, WorkerProcess
from zkservice.supervisor.recycling import Recycling, RecyclingSettings
from zkservice.supervisor.starting import Restarts, StartCommands, Starter

__all__ = ["PoolOwner", "PoolSettings", "ProcessPool"]

#: The upper bound of ``--processes``.
_MAX_SIZE: Final = 1024
#: Seconds beyond the drain's time-out before a worker that does not end is killed.
_DRAIN_GRACE: Final = 3.0


@dataclass(frozen=True)
class PoolSettings:
    """The number of workers and the time-outs, in seconds."""

    size: int
    #: without a beat after which a worker is stuck and killed; 0 is never
    worker_timeout: float = 30.0
    #: for a worker to load the application
    start_timeout: float = 300.0
    #: for the requests of a worker that is replaced
    drain_timeout: float = 30.0
    recycling: RecyclingSettings = field(default_factory=RecyclingSettings)


class PoolOwner:
    """The owner of a pool gets these calls; the base class ignores them."""

    def serving_workers_changed(self) -> None:
        """The workers that take connections have changed; there may be none."""

    def gone(self, worker: WorkerProcess) -> None:
        """A worker has ended."""

    def gave_up(self, reason: str) -> None:
        """No worker can start, and the pool has stopped trying."""

    def reloaded(self, error: str) -> None:
        """A reload is over; ``error`` says why it failed, or is empty."""

    def check(self, figures: dict[str, Any]) -> None:
        """Check the figures that a worker has sent.

        Raises:
            MessageError: the figures are invalid.
        """

    def handle_request(self, what: str, arguments: list[Any]) -> Any:
        """Return the reply to a worker's request, or a Deferred for it.

        Raises:
            MessageError: a worker must not send this request.
        """
        raise LookupError(f"unknown request {what}")


class ProcessPool(WorkerEvents):
    """Keeps workers running.

    Args:
        settings: the number of workers and the time-outs.
        command: returns how to start a worker; called again for each reload.
        reactor: spawns processes and tells the time.
        owner: receives what happens to the pool.
        random: returns a number from 0 to 1.
        make_worker: makes the parent's side of a worker.
    """

    _log = Logger()

    def __init__(
        self,
        settings: PoolSettings,
        command: Callable[[], Command],
        reactor: Any,
        owner: PoolOwner,
        random: Callable[[], float],
        make_worker: Callable[..., WorkerProcess] = WorkerProcess,
    ) -> None:
        self.settings = settings
        self.size = settings.size
        self._owner = owner
        self._commands = StartCommands(command)
        self._restarts = Restarts(reactor, random, self._fill)
        self._starter = Starter(
            reactor, self, settings.worker_timeout, settings.start_timeout, make_worker
        )
        # The workers that serve, and those that start because there are too few.
        self._wanted: list[WorkerProcess] = []
        # Workers that start to replace another one: the old worker, or None in a reload, where
        # the new workers replace all old ones together.
        self._successors: dict[WorkerProcess, WorkerProcess | None] = {}
        self._leaving: set[WorkerProcess] = set()
        self._stopping = False
        self._stopped: Waiters[None] = Waiters()
        self.recycling = Recycling(settings.recycling, reactor, random, self.replace)

    # -- for the owner --

    @property
    def workers(self) -> list[WorkerProcess]:
        """All running workers; those that are draining come last."""
        return [*self._wanted, *self._successors, *sorted(self._leaving, key=lambda w: w.name)]

    @property
    def serving_workers(self) -> list[WorkerProcess]:
        """The workers that take connections."""
        return [worker for worker in self._wanted if worker.phase is WorkerPhase.SERVING]

    @property
    def stopping(self) -> bool:
        """Whether the pool is stopping."""
        return self._stopping

    def start(self) -> None:
        """Start the workers, side by side."""
        self._fill()

    def resize(self, size: int) -> None:
        """Change the number of workers, at least one; those with the fewest connections end."""
        self.size = min(max(1, size), _MAX_SIZE)
        by_load = sorted(self._wanted, key=lambda worker: worker.connections)
        for worker in by_load[: max(0, len(self._wanted) - self.size)]:
            self._drain_wanted(worker)
        self._fill()

    def configure(self, settings: PoolSettings) -> None:
        """Replace the settings.  Their ``size`` counts from the next reload; see `resize`."""
        self.settings = settings
        self.recycling.settings = settings.recycling
        self._starter.configure(settings.worker_timeout, settings.start_timeout)

    def reload(self) -> None:
        """Start workers with the current code and settings; when they serve, drain the old ones.

        If one of the new workers cannot start, the old ones stay.
        """
        if self._stopping:
            return
        if self._reloading:
            self._commands.reload_again = True
            return
        self._commands.prepare()
        self._log.info(
            "reload: starting {size} new worker{s}", size=self.size, s="s" * (self.size != 1)
        )
        for _ in range(self.size):
            self._start_worker(self._successors, None)
            if not self._reloading:  # no process can be started, and the reload is over
                return

    def replace(self, worker: WorkerProcess) -> bool:
        """Start another worker to replace one, which is drained when the other one serves.

        Returns:
            False if it cannot be done now.
        """
        if self._stopping or worker not in self._wanted or worker in self._successors.values():
            return False
        self._start_worker(self._successors, worker)
        return True

    def reopen(self) -> None:
        """Have all workers open their log files again."""
        for worker in self.workers:
            worker.reopen()

    def stop(self, timeout: float) -> Deferred[None]:
        """Drain all workers; fires when none is left, soon after the time-out at the latest."""
        self._stopping = True
        self._restarts.stop()
        self.recycling.stop()
        for worker in [*self._successors]:
            worker.kill("the service stops")
        for worker in [*self._wanted]:
            self._drain_wanted(worker, timeout)
        done = self._stopped.add()
        self._maybe_stopped()
        return done

    def kill(self) -> None:
        """End all workers at once."""
        for worker in self.workers:
            worker.kill("the service stops at once")

    # -- starting --

    @property
    def _reloading(self) -> bool:
        return None in self._successors.values()

    def _fill(self) -> None:
        """Start workers for places that are empty, unless it is too early."""
        while len(self._wanted) < self.size and not (self._stopping or self._restarts.pausing):
            self._start_worker(self._wanted, None)

    def _start_worker(self, place: Any, old: WorkerProcess | None) -> None:
        worker = self._starter.make()
        if place is self._successors:
            self._successors[worker] = old
        else:
            self._wanted.append(worker)
        # During a reload, a worker that replaces a dead one starts with the old settings: the new
        # ones count only after the reload has succeeded.
        of_reload = place is self._successors and old is None
        self._starter.start(worker, self._commands.next if of_reload else self._commands.current)

    # -- events of workers --

    @override
    def serving(self, worker: WorkerProcess) -> None:
        self._restarts.served()
        self._log.info("{name} is serving (process {pid})", name=worker.name, pid=worker.pid)
        self.recycling.began(worker)
        if worker in self._successors:
            self._successor_serves(worker)
        self._owner.serving_workers_changed()

    @override
    def gone(self, worker: WorkerProcess) -> None:
        self.recycling.ended(worker)
        self._owner.gone(worker)
        if worker in self._successors:
            self._successor_failed(worker)
        elif worker in self._leaving:
            self._leaving.discard(worker)
            self._log.info("{name} has ended: {reason}", name=worker.name, reason=worker.reason)
        elif worker in self._wanted:
            self._wanted.remove(worker)
            self._owner.serving_workers_changed()
            self._died(worker)
        self._maybe_stopped()

    @override
    def beat(self, worker: WorkerProcess) -> None:
        self.recycling.beat(worker)

    @override
    def logged(self, worker: WorkerProcess, line: LogLine) -> None:
        level = LogLevel.lookupByName(line.level)
        log = Logger(namespace=line.namespace)
        parts: dict[str, Any] = {"worker": worker.name, "text": line.text}
        if line.stack:
            parts["stack"] = line.stack.rstrip("\n")
        form = "{worker}: {text}\n{stack}" if line.stack else "{worker}: {text}"
        log.emit(level, form, **parts, worker_fields=line.fields)

    @override
    def check(self, figures: dict[str, Any]) -> None:
        self._owner.check(figures)

    @override
    def handle_request(self, worker: WorkerProcess, what: str, arguments: list[Any]) -> Any:
        return self._owner.handle_request(what, arguments)

    # -- deaths --

    def _died(self, worker: WorkerProcess) -> None:
        """Start another worker in place of one that died: at once, or later if it died young."""
        self._log.error(
            "{name} has ended after {age:.1f} s: {reason}",
            name=worker.name,
            age=self._restarts.age(worker),
            reason=worker.reason,
        )
        if self._stopping:
            return
        if self._restarts.died(worker, self.size):
            self._fill()
        else:
            self._stopping = True
            self._owner.gave_up(f"no worker can start: {worker.reason}")

    # -- replacing --

    def _successor_serves(self, worker: WorkerProcess) -> None:
        old = self._successors[worker]
        if old is not None:
            del self._successors[worker]
            self._wanted.append(worker)
            if old in self._wanted:
                self._drain_wanted(old)
            return
        generation = [each for each, replaced in self._successors.items() if replaced is None]
        if all(each.phase is WorkerPhase.SERVING for each in generation):
            before, self._wanted = self._wanted, []
            for each in generation:
                del self._successors[each]
                self._wanted.append(each)
            for each in before:
                self._start_draining(each)
            self._log.info("reload: the new workers are serving; draining the old ones")
            self._reload_over("")

    def _successor_failed(self, worker: WorkerProcess) -> None:
        old = self._successors.pop(worker)
        if self._stopping:
            return
        if old is not None:
            self._log.error(
                "{name} cannot start to replace {old}: {reason}; keeping {old}",
                name=worker.name,
                old=old.name,
                reason=worker.reason,
            )
            self.recycling.began(old)  # it is due again later
            return
        others = [each for each, replaced in self._successors.items() if replaced is None]
        for other in others:
            del self._successors[other]
            self._leaving.add(other)
            other.kill("the reload has failed")
        self._log.error(
            "reload failed: {name} cannot start: {reason}; keeping the old workers",
            name=worker.name,
            reason=worker.reason,
        )
        self._reload_over(worker.reason)

    def _reload_over(self, error: str) -> None:
        again = self._commands.finish(accepted=not error)
        self.resize(self.size)  # the size may have been changed meanwhile
        self._owner.reloaded(error)
        if again:
            self.reload()

    # -- draining --

    def _drain_wanted(self, worker: WorkerProcess, timeout: float | None = None) -> None:
        """Drain one of the wanted workers, which takes no more connections."""
        self._wanted.remove(worker)
        self._start_draining(worker, timeout)
        self._owner.serving_workers_changed()

    def _start_draining(self, worker: WorkerProcess, timeout: float | None = None) -> None:
        """Drain a worker that is in none of the lists any more."""
        self._leaving.add(worker)
        limit = self.settings.drain_timeout if timeout is None else timeout
        worker.drain(limit, _DRAIN_GRACE)

    def _maybe_stopped(self) -> None:
        if self._stopping and not any(self._running()):
            self._stopped.fire(None)

    def _running(self) -> Iterator[WorkerProcess]:
        yield from self._wanted
        yield from self._successors
        yield from self._leaving
