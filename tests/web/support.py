"""A front end without sockets or threads: what a client sends, and what it gets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.web import HTTPFactory, Limits
from zkservice.web.channel import HTTPChannel
from zkservice.web.worker import Job, Running, Worker
from zkservice.web.workers import WorkersStatistics

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
StartResponse = Callable[..., Callable[[bytes], None]]


class InlineWorkers:
    """Stands in for ``Workers``: jobs run in the caller's thread, at once or by ``run``."""

    threads = 4

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.replaced: list[Worker] = []
        self.holding = False
        self.jobs: list[Job] = []
        self._worker = Worker()
        self.results = self
        self.lock = threading.Lock()

    def submit(self, job: Job) -> None:
        """Run a job, or keep it."""
        self.jobs.append(job)
        if not self.holding:
            self.run()

    def run(self) -> None:
        """Run the jobs that were kept."""
        while self.jobs:
            self.run_one()

    def run_one(self) -> None:
        """Run the first job that was kept."""
        self._worker.job = job = self.jobs.pop(0)
        self._worker.began = self.now()
        job.run(self._worker)
        self._worker.job = None

    @property
    def queued(self) -> int:
        """How many jobs were kept."""
        return len(self.jobs)

    def statistics(self) -> WorkersStatistics:
        """No thread is there."""
        return WorkersStatistics(0, 0, self.queued, 0, len(self.replaced))

    def all_workers(self) -> list[Worker]:
        """The one thread that runs everything."""
        return [self._worker]

    def running(self) -> list[Running]:
        """One thread with the first job that was kept, and one that is stuck."""
        return [
            Running("worker-0", self.jobs[0] if self.jobs else None, 1.5, False, "stack of it"),
            Running("worker-1", None, 0.0, True, ""),
        ]

    def replace(self, worker: Worker) -> bool:
        """Note that a worker was given up."""
        self.replaced.append(worker)
        return True

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """Deliver at once."""
        function(*args)

    post_here = post

    def after_delivery(self, function: Callable[[], None]) -> None:
        """Each delivery is one of its own."""
        function()


class Transport(StringTransport):
    """A TCP connection's transport that remembers how it was closed."""

    def __init__(self) -> None:
        super().__init__(
            IPv4Address("TCP", "192.0.2.1", 80), IPv4Address("TCP", "198.51.100.7", 54321)
        )
        self.half_closed = False
        self.aborted = False

    def loseWriteConnection(self) -> None:  # noqa: N802 - ITCPTransport
        """Note the half-close."""
        self.half_closed = True

    def set_flowing(self, flowing: bool) -> None:
        """Play a client that reads, or does not."""
        producer: Any = self.producer
        if flowing:
            producer.resumeProducing()
        else:
            producer.pauseProducing()

    @override
    def abortConnection(self) -> None:
        self.aborted = True
        self.disconnecting = True


class Client:
    """One client of a front end."""

    def __init__(self, factory: HTTPFactory) -> None:
        channel = factory.buildProtocol(None)
        assert isinstance(channel, HTTPChannel)
        self.channel = channel
        self.transport = Transport()
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> bytes:
        """Send bytes; returns what came back."""
        self.channel.dataReceived(data)
        return self.received()

    def received(self) -> bytes:
        """What has come since the last time."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def leave(self) -> None:
        """Close the connection."""
        self.channel.connectionLost(Failure(ConnectionDone()))

    @property
    def closed(self) -> bool:
        """Whether the server has closed the connection, or its half."""
        return self.transport.disconnecting or self.transport.half_closed


class FrontEnd:
    """A front end for tests.

    Args:
        application: what it serves.
        limits: if not the default ones.
        arguments: passed on to ``HTTPFactory``.
    """

    def __init__(
        self,
        application: Callable[..., Iterable[bytes]],
        limits: Limits | None = None,
        **arguments: Any,
    ) -> None:
        self.clock = Clock()
        self.workers = InlineWorkers(self.clock.seconds)
        self.factory = HTTPFactory(
            application,
            self.workers,  # type: ignore[arg-type]
            reactor=self.clock,
            limits=limits,
            **arguments,
        )

    def connect(self) -> Client:
        """A new connection."""
        return Client(self.factory)

    def get(self, data: bytes = GET) -> bytes:
        """What a new client gets for some bytes."""
        return self.connect().send(data)


def hello(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer with a greeting and the path."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello ", environ["PATH_INFO"].encode("latin-1")]


def split(response: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """Status line, fields by lower-case name, and the rest of a response."""
    head, _, rest = response.partition(b"\r\n\r\n")
    status, *fields = head.split(b"\r\n")
    named = (field.decode("latin-1").split(": ", 1) for field in fields)
    return status, {name.lower(): value for name, value in named}, rest
