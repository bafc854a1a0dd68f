"""Serve one of the benchmark's applications with this package, without ZooKeeper."""

from __future__ import annotations

import sys

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint

from benchmarks.http_apps import APPLICATIONS
from zkservice.web import HTTPFactory, Workers


def main(name: str, port: int, threads: int) -> None:
    """Serve until the process is ended."""
    workers = Workers(reactor, threads)
    factory = HTTPFactory(APPLICATIONS[name], workers, reactor=reactor)

    def start() -> None:
        workers.start()
        TCP4ServerEndpoint(reactor, port, backlog=1024, interface="127.0.0.1").listen(factory)

    reactor.callWhenRunning(start)  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
