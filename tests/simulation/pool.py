"""The application's threads, without threads: jobs run in the order that the seed says."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from tests.simulation.machine import Machine
from zkservice.web import Workers
from zkservice.web.worker import Job, Worker


class ParkedError(Exception):
    """A worker sleeps."""


class _Bed:
    """The lock that a worker's thread would sleep on."""

    def __init__(self, pool: SimulatedWorkers, worker: Worker) -> None:
        self._pool, self._worker = pool, worker

    def acquire(self) -> None:
        """Sleep."""
        raise ParkedError

    def release(self) -> None:
        """Wake up, a moment later."""
        self._pool.step_soon(self._worker)


class _Thread:
    """What a worker knows of its thread."""

    ident = None

    def __init__(self, name: str) -> None:
        self.name = name


class SimulatedWorkers(Workers):
    """The real queues; a job takes the simulated time that its application asks for.

    The application runs at once, when that time is over.
    """

    def __init__(self, machine: Machine, threads: int = 4, **options: Any) -> None:
        super().__init__(machine, threads, now=machine.kernel.boot_time, **options)
        self._machine = machine

    @override
    def _add_worker(self) -> None:
        worker = Worker()
        bed: Any = _Bed(self, worker)
        thread: Any = _Thread(f"application-{next(self._numbers)}")
        worker.parked, worker.thread = bed, thread
        self._workers.add(worker)
        self.step_soon(worker)

    def step_soon(self, worker: Worker) -> None:
        """Let a thread look for a job after the moment that waking takes."""
        kernel = self._machine.kernel
        noise = kernel.choices.noise("pool", kernel.now)
        self._later(noise.delay(0.00002, 0.01), self._step, worker)

    def _later(self, seconds: float, function: Any, *args: Any) -> None:
        """In its own thread: not by the reactor, but not while the process is suspended."""

        def run() -> None:
            if self._machine.state == "suspended":
                self._later(0.05, function, *args)
            elif self._machine.state == "running":
                function(*args)

        self._machine.kernel.after(seconds, run)

    def _step(self, worker: Worker) -> None:
        try:
            job = self._queue.take(worker)
        except ParkedError:
            return
        if job is None:
            self.results.post(self._ended, worker)
            return
        worker.began, worker.job = self.now(), job
        self._later(self._machine.job_length(job), self._finish, worker, job)

    def _finish(self, worker: Worker, job: Job) -> None:
        try:
            job.run(worker)
        except BaseException:  # noqa: BLE001 - as the real one
            self._log.failure("a job failed outside the application")
        worker.job = None
        worker.completed += 1
        self._queue.note_length(self.now() - worker.began)
        self._step(worker)
