"""Serve one of the benchmark's applications with one of the servers that are compared.

python -m benchmarks.http_servers SERVER APPLICATION PORT THREADS
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.http_apps import APPLICATIONS

HOST = "127.0.0.1"
BACKLOG = 1024


def zkservice(name: str, port: int, threads: int) -> None:
    """This package's front end, without ZooKeeper."""
    from zkservice.web import HTTPFactory, Workers

    _serve_twisted(
        port,
        lambda reactor, workers: HTTPFactory(APPLICATIONS[name], workers, reactor=reactor),
        lambda reactor: Workers(reactor, threads),
    )


def metrics(name: str, port: int, threads: int) -> None:
    """The same with what ``twistd zkserve`` counts of each response."""
    from zkservice.web import HTTPFactory, ResponseTally, Workers

    tally = ResponseTally()
    _serve_twisted(
        port,
        lambda reactor, workers: HTTPFactory(
            APPLICATIONS[name], workers, reactor=reactor, tally=tally
        ),
        lambda reactor: Workers(reactor, threads),
    )


def view(name: str, port: int, threads: int) -> None:
    """The application as a view, which runs in the reactor."""
    from zkservice.web import HTTPFactory, Workers

    _serve_twisted(
        port,
        lambda reactor, workers: HTTPFactory(
            APPLICATIONS[name], workers, reactor=reactor, views={"/": APPLICATIONS[name]}
        ),
        lambda reactor: Workers(reactor, threads),
    )


def ceiling(name: str, port: int, threads: int) -> None:
    """What no server on Twisted and httptools can do better: a canned answer."""
    from httptools import HttpRequestParser
    from twisted.internet.protocol import Factory, Protocol
    from typing_extensions import override

    answer = (
        b"HTTP/1.1 200 OK\r\nServer: ceiling\r\nDate: Fri, 20 Nov 2026 12:00:00 GMT\r\n"
        b"Content-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n"
    )

    class Canned(Protocol):
        @override
        def connectionMade(self) -> None:
            self.parser = HttpRequestParser(self)

        @override
        def dataReceived(self, data: bytes) -> None:
            self.parser.feed_data(data)

        def on_message_complete(self) -> None:
            self.transport.write(answer)  # type: ignore[union-attr]

    class Nothing:
        def start(self) -> None:
            pass

    _serve_twisted(port, lambda reactor, workers: Factory.forProtocol(Canned), lambda _: Nothing())


def _serve_twisted(
    port: int, make_factory: Callable[[Any, Any], Any], make_workers: Callable[[Any], Any]
) -> None:
    from twisted.internet import reactor
    from twisted.internet.endpoints import TCP4ServerEndpoint

    workers = make_workers(reactor)
    factory = make_factory(reactor, workers)

    def start() -> None:
        workers.start()
        TCP4ServerEndpoint(reactor, port, BACKLOG, HOST).listen(factory)

    reactor.callWhenRunning(start)  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]


def wsgiresource(name: str, port: int, threads: int) -> None:
    """twisted.web's WSGIResource."""
    from twisted.internet import reactor
    from twisted.python.threadpool import ThreadPool
    from twisted.web.server import Site
    from twisted.web.wsgi import WSGIResource

    pool = ThreadPool(threads, threads)
    site = Site(WSGIResource(reactor, pool, APPLICATIONS[name]))
    reactor.callWhenRunning(pool.start)  # type: ignore[attr-defined]
    reactor.addSystemEventTrigger("before", "shutdown", pool.stop)  # type: ignore[attr-defined]
    reactor.listenTCP(port, site, BACKLOG, HOST)  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]


def zopeserver(name: str, port: int, threads: int) -> None:
    """zope.server, which this package's users come from."""
    from zope.server.http.wsgihttpserver import run_paste

    run_paste(APPLICATIONS[name], {}, host=HOST, port=port, threads=threads)


def waitress(name: str, port: int, threads: int) -> None:
    """waitress."""
    from waitress import serve

    serve(APPLICATIONS[name], host=HOST, port=port, threads=threads, backlog=BACKLOG)


def zkserve(name: str, port: int, threads: int, processes: int) -> None:
    """The whole of ``twistd zkserve``, with an embedded ZooKeeper."""
    from twisted.scripts.twistd import run

    sys.argv = ["twistd", "-n", "--pidfile=", "zkserve", "--zookeeper=embedded"]
    sys.argv += ["--path=/benchmark", f"--host={HOST}", f"--port={port}", f"--threads={threads}"]
    sys.argv += [f"--processes={processes}", f"benchmarks.http_apps:{name}"]
    run()


def gunicorn(name: str, port: int, threads: int, processes: int = 1) -> None:
    """gunicorn with its gthread worker."""
    from gunicorn.app.wsgiapp import run

    sys.argv = ["gunicorn", "--worker-class=gthread", f"--workers={processes}"]
    sys.argv += [f"--threads={threads}"]
    sys.argv += [f"--bind={HOST}:{port}", f"--backlog={BACKLOG}", "--keep-alive=75"]
    sys.argv += ["--log-level=error", f"benchmarks.http_apps:{name}"]
    run()


def granian(name: str, port: int, threads: int, processes: int = 1) -> None:
    """granian: the protocol in Rust."""
    from granian.constants import Interfaces
    from granian.server import Server

    Server(
        f"benchmarks.http_apps:{name}",
        address=HOST,
        port=port,
        interface=Interfaces.WSGI,
        workers=processes,
        blocking_threads=threads,
        backlog=BACKLOG,
        log_enabled=False,
    ).serve()


SERVERS: dict[str, Callable[[str, int, int], None]] = {
    "zkservice": zkservice,
    "metrics": metrics,
    "view": view,
    "ceiling": ceiling,
    "wsgiresource": wsgiresource,
    "zopeserver": zopeserver,
    "waitress": waitress,
    "gunicorn": gunicorn,
    "granian": granian,
    "zkserve-1": partial(zkserve, processes=1),
    "zkserve-4": partial(zkserve, processes=4),
    "zkserve-2": partial(zkserve, processes=2),
    "gunicorn-2": partial(gunicorn, processes=2),
    "granian-2": partial(granian, processes=2),
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
