"""Tests for zkservice.web on real sockets: what a StringTransport cannot show."""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

from twisted.internet import reactor as _reactor  # noqa: TID251 - the one of these tests
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from typing_extensions import override

from tests import effort
from tests.certificates import Authority
from tests.web.support import GET, StartResponse
from zkservice.web import HTTPFactory, Limits, TextView, Workers
from zkservice.web.channel import HTTPChannel

reactor: Any = _reactor
PATIENCE = 120.0  # seconds until a test that waits for a socket has failed
MEBIBYTE = b"0123456789abcdef" * 65536

Environ = dict[str, Any]


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer in the way the path asks for."""
    path = environ["PATH_INFO"]
    plain = [("Content-Type", "text/plain")]
    if path == "/stream":
        start_response("200 OK", plain)
        return (MEBIBYTE for _ in range(20))
    if path == "/list":
        start_response("200 OK", [*plain, ("Content-Length", str(len(MEBIBYTE) * 20))])
        return [MEBIBYTE * 20]
    if path == "/file":
        start_response("200 OK", plain)
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](open(environ["QUERY_STRING"], "rb"))  # noqa: SIM115
        return wrapped
    if path == "/echo":
        start_response("200 OK", plain)
        return [environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))]
    start_response("200 OK", plain)
    if path == "/peer":
        return [f"{environ['REMOTE_ADDR']} {environ['REMOTE_PORT']}".encode()]
    return [f"{environ['wsgi.url_scheme']} {path}".encode()]


def worker_threads() -> int:
    """How many threads there are for applications; the clients of these tests have others."""
    return sum(thread.name.startswith("application-") for thread in threading.enumerate())


def read_all(sock: socket.socket) -> bytes:
    """What comes until the connection ends."""
    parts = []
    while part := sock.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def unchunk(body: bytes) -> bytes:
    """The data of a chunked body."""
    parts: list[bytes] = []
    at = 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end], 16)
        if not size:
            return b"".join(parts)
        parts.append(body[end + 2 : end + 2 + size])
        at = end + 4 + size


def body_of(answer: bytes) -> bytes:
    """The body of the only response in ``answer``."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return unchunk(body) if b"Transfer-Encoding: chunked" in head else body


CLOSE = GET[:-2] + b"Connection: close\r\n\r\n"


class FunctionalTests(TestCase):
    """A front end behind a real endpoint, its clients in threads."""

    endpoint = "tcp:0:interface=127.0.0.1"
    limits = Limits(body_bytes=1 << 26, drain_linger=0.1, response_patience=0.2)

    @override
    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        self.workers = Workers(reactor, 4)
        self.workers.start()
        self.factory = HTTPFactory(
            self.application(),
            self.workers,
            reactor=reactor,
            limits=self.limits,
            views={"/view": TextView(lambda environ: "seen")},
        )
        self.addCleanup(self.workers.stop, 5)
        return self.listen(self.endpoint)

    #: wsgiref's validator hides the file wrapper from the server.
    validated = True

    def application(self) -> Callable[..., Iterable[bytes]]:
        """What is served."""
        if not self.validated:
            return application
        validated: Any = validator(application)  # type: ignore[arg-type]
        checked: Callable[..., Iterable[bytes]] = validated
        return checked

    async def _listen(self, endpoint: str) -> None:
        self.port = await serverFromString(reactor, endpoint).listen(self.factory)
        self.addCleanup(self.factory.drain, 5)
        self.addCleanup(self.port.stopListening)

    def listen(self, endpoint: str) -> Deferred[None]:
        """Listen, until the test is over."""
        return Deferred.fromCoroutine(self._listen(endpoint))

    def connect(self, **options: Any) -> socket.socket:
        """A client's socket (any thread)."""
        sock = socket.socket(options.get("family", socket.AF_INET))
        sock.settimeout(PATIENCE)
        if "buffer" in options:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options["buffer"])
        sock.connect(self.address())
        self.addCleanup(sock.close)
        return sock

    def address(self) -> Any:
        """Where the front end listens."""
        return ("127.0.0.1", self.port.getHost().port)

    def exchange(self, data: bytes) -> bytes:
        """Send bytes and read until the server closes (client's thread)."""
        sock = self.connect()
        sock.sendall(data)
        return read_all(sock)

    async def client(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a client in a thread."""
        return await deferToThread(function, *args)

    async def settled(self) -> None:
        """Wait until the server knows that its clients have gone."""
        for _ in range(5000):
            if not self.factory.statistics().connections:
                return
            await deferLater(reactor, 0.02)
        self.fail("a connection was left over")


class SocketTests(FunctionalTests):
    """Plain TCP."""

    async def test_a_valid_application_is_reached(self) -> None:
        """The application is reached, the validator content, the connection closed."""
        answer = await self.client(self.exchange, CLOSE)
        self.assertEqual(body_of(answer), b"http /")

    async def test_five_hundred_pipelined_requests_are_answered_in_order(self) -> None:
        """Five hundred requests in one go are answered in order."""
        requests = b"".join(GET.replace(b"/ ", b"/%d " % n) for n in range(500))
        answer = await self.client(self.exchange, requests + CLOSE)
        found = [int(part.partition(b"\r")[0]) for part in answer.split(b"http /")[1:-1]]
        self.assertEqual(found, list(range(500)))

    async def test_views_in_a_pipeline(self) -> None:
        """Views and the application answer one pipeline, each in its place."""
        view = GET.replace(b"/ ", b"/view ")
        answer = await self.client(self.exchange, (view + GET + view) * 50 + CLOSE)
        found = re.findall(rb"seen|http /", answer)
        self.assertEqual(found, [b"seen", b"http /", b"seen"] * 50 + [b"http /"])

    async def test_large_bodies_come_back(self) -> None:
        """30 MiB come back as they were sent, through files both ways."""
        body = MEBIBYTE * 30
        head = b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        head += b"Content-Length: %d\r\nContent-Type: x\r\n\r\n" % len(body)
        answer = await self.client(self.exchange, head + body)
        self.assertTrue(body_of(answer) == body)

    async def test_a_chunked_upload_comes_back(self) -> None:
        """A chunked upload comes back, too."""
        data = b"".join(b"%x\r\n%s\r\n" % (1000, MEBIBYTE[:1000]) for _ in range(2000))
        head = b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        head += b"Transfer-Encoding: chunked\r\nContent-Type: x\r\n\r\n"
        answer = await self.client(self.exchange, head + data + b"0\r\n\r\n")
        self.assertTrue(body_of(answer) == MEBIBYTE[:1000] * 2000)

    async def test_a_slow_reader_does_not_hold_a_worker(self) -> None:
        """20 MiB reach a client that pauses; its worker is free long before."""

        def read_slowly() -> bytes:
            sock = self.connect(buffer=8192)
            sock.sendall(CLOSE.replace(b"/ ", b"/stream ", 1))
            first = sock.recv(100)
            self.assertTrue(free.wait(PATIENCE))
            return first + read_all(sock)

        free = threading.Event()
        answering = self.client(read_slowly)
        slow: Deferred[bytes] = Deferred.fromCoroutine(answering)
        for _ in range(5000):
            statistics = self.workers.statistics()
            if statistics.completed and not statistics.busy:
                break
            await deferLater(reactor, 0.02)
        self.assertEqual(self.workers.statistics().completed, 1)
        self.assertEqual(self.factory.statistics().connections, 1)
        free.set()
        answer = await slow
        self.assertTrue(body_of(answer) == MEBIBYTE * 20)

    async def test_clients_that_never_read(self) -> None:
        """Twenty of them hold no thread; others are served meanwhile."""

        def ask_only() -> socket.socket:
            sock = self.connect(buffer=8192)
            sock.sendall(GET.replace(b"/ ", b"/stream "))
            return sock

        sockets = [await self.client(ask_only) for _ in range(20)]
        answer = await self.client(self.exchange, CLOSE)
        self.assertIn(b" 200 OK", answer)
        for sock in sockets:
            sock.close()
        await self.settled()

    async def test_half_closed_client(self) -> None:
        """A client that shuts its side down after the request is answered."""

        def half_close() -> bytes:
            sock = self.connect()
            sock.sendall(GET.replace(b"/ ", b"/list "))
            sock.shutdown(socket.SHUT_WR)
            return read_all(sock)

        answer = await self.client(half_close)
        self.assertEqual(len(body_of(answer)), 20 << 20)
        await self.settled()

    async def test_refusals_can_be_read(self) -> None:
        """An error page arrives although the client goes on sending a body that is not read."""
        body = b"x" * 200_000
        for status, head in (
            (413, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n"),
            (414, b"GET /" + b"a" * 20_000),
            (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70_000),
            (417, b"POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n"),
            (501, b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
            (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
            (400, b"\x16\x03\x01\x02\x00"),
        ):
            for data in (head, head + body[:50_000]):
                answer = await self.client(self._exchange_half_closing, data)
                self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % status), (status, answer[:80]))

    def _exchange_half_closing(self, data: bytes) -> bytes:
        sock = self.connect()
        sock.sendall(data)
        answer = read_all(sock)
        sock.close()
        return answer

    async def test_clients_that_vanish(self) -> None:
        """Resets and half requests by the hundred leave neither thread nor descriptor."""

        def vanish(number: int) -> None:
            sock = self.connect()
            sock.sendall(
                (GET, GET[:-9], b"", GET * 50, GET.replace(b"/ ", b"/stream "))[number % 5]
            )
            if number % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

        def all_of_them() -> None:
            for number in range(effort(300, 60)):
                vanish(number)

        await self.client(self.exchange, CLOSE)
        await self.settled()
        before = len(os.listdir("/proc/self/fd")), worker_threads()
        self.assertGreater(before[1], 0)
        await self.client(all_of_them)
        self.assertIn(b" 200 OK", await self.client(self.exchange, CLOSE))
        await self.settled()
        for _ in range(5000):
            if not self.workers.statistics().busy:
                break
            await deferLater(reactor, 0.02)
        after = len(os.listdir("/proc/self/fd")), worker_threads()
        self.assertLessEqual(after[0], before[0] + 1)
        self.assertEqual(after[1], before[1])

    async def test_small_parts_are_not_delayed(self) -> None:
        """The kernel does not hold small parts back (TCP_NODELAY)."""
        sock = await self.client(self.connect)
        while not self.factory.statistics().connections:
            await deferLater(reactor, 0.01)
        (channel,) = self.factory.server.connections._open
        assert isinstance(channel, HTTPChannel)
        transport: Any = channel.transport
        self.assertTrue(transport.getTcpNoDelay())
        sock.close()

    async def test_byte_by_byte(self) -> None:
        """A request may come one byte at a time."""

        def drip() -> bytes:
            sock = self.connect()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(len(CLOSE)):
                sock.sendall(CLOSE[at : at + 1])
            return read_all(sock)

        self.assertIn(b" 200 OK", await self.client(drip))


class FileTests(FunctionalTests):
    """Files on their way from disk to socket."""

    validated = False

    async def test_a_file_is_sent_without_a_worker(self) -> None:
        """A file of 20 MiB arrives whole, without a worker."""
        path = Path(self.mktemp())
        path.write_bytes(MEBIBYTE * 20)
        request = CLOSE.replace(b"/ ", b"/file?%s " % str(path.absolute()).encode(), 1)
        answer = await self.client(self.exchange, request)
        self.assertTrue(body_of(answer) == MEBIBYTE * 20)

    async def test_file_that_shrinks(self) -> None:
        """A file that loses its end on the way leads to a cut, not to a hang."""
        path = Path(self.mktemp())
        path.write_bytes(MEBIBYTE * 20)
        request = CLOSE.replace(b"/ ", b"/file?%s " % str(path.absolute()).encode(), 1)

        def read() -> int:
            sock = self.connect(buffer=8192)
            sock.sendall(request)
            size = len(sock.recv(100))
            os.truncate(path, 1)
            try:
                while part := sock.recv(1 << 20):
                    size += len(part)
            except ConnectionResetError:
                pass
            return size

        self.assertLess(await self.client(read), 20 << 20)
        await self.settled()


class UnixTests(FunctionalTests):
    """A Unix socket."""

    @override
    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        self.path = Path(self.mktemp()).absolute().relative_to(Path.cwd())
        self.endpoint = f"unix:{self.path}"
        return super().setUp()

    @override
    def address(self) -> Any:
        return str(self.path)

    @override
    def exchange(self, data: bytes) -> bytes:
        sock = self.connect(family=socket.AF_UNIX)
        sock.sendall(data)
        return read_all(sock)

    async def test_requests_come_over_a_unix_socket(self) -> None:
        """Requests come over a Unix socket just as well."""
        answer = await self.client(self.exchange, CLOSE)
        self.assertEqual(body_of(answer), b"http /")


class HAProxyTests(FunctionalTests):
    """The PROXY protocol, by Twisted's endpoint."""

    validated = False
    endpoint = "haproxy:tcp:0:interface=127.0.0.1"

    async def test_the_application_sees_the_proxied_addresses(self) -> None:
        """The application sees the addresses that the proxy sent."""
        data = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\n"
        answer = await self.client(self.exchange, data + CLOSE.replace(b"/ ", b"/peer ", 1))
        self.assertEqual(body_of(answer), b"203.0.113.9 4711")

    async def test_large_bodies_pass_the_proxy_protocol(self) -> None:
        """20 MiB go through the wrapper."""
        data = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\n"
        answer = await self.client(self.exchange, data + CLOSE.replace(b"/ ", b"/stream ", 1))
        self.assertTrue(body_of(answer) == MEBIBYTE * 20)


class TLSTests(FunctionalTests):
    """TLS, by Twisted's endpoint."""

    @override
    def setUp(self) -> Deferred[None]:  # type: ignore[override]
        self.authority = Authority(self.mktemp())
        certificate = self.authority.issue("localhost")
        self.endpoint = f"ssl:0:interface=127.0.0.1:privateKey={certificate}"
        return super().setUp()

    @override
    def exchange(self, data: bytes) -> bytes:
        context = ssl.create_default_context(cafile=self.authority.ca)
        with context.wrap_socket(self.connect(), server_hostname="localhost") as sock:
            sock.sendall(data)
            return read_all(sock)

    async def test_the_application_knows_the_scheme(self) -> None:
        """The application knows that it is reached by TLS."""
        answer = await self.client(self.exchange, CLOSE)
        self.assertEqual(body_of(answer), b"https /")

    async def test_tls_streams_in_order(self) -> None:
        """20 MiB go through TLS in order, with back-pressure."""
        answer = await self.client(self.exchange, CLOSE.replace(b"/ ", b"/stream ", 1))
        self.assertTrue(body_of(answer) == MEBIBYTE * 20)
        await self.settled()

    async def test_refusal_can_be_read(self) -> None:
        """An error page survives what the client sends behind its request."""
        data = b"GET / HTTP/1.1\r\n\r\n" + b"x" * 50_000
        answer = await self.client(self.exchange, data)
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "))
        self.assertTrue(answer.endswith(b"needs a Host field\n"))
        await self.settled()

    async def test_a_large_block_passes_tls(self) -> None:
        """One block of 20 MiB goes through TLS as well."""
        answer = await self.client(self.exchange, CLOSE.replace(b"/ ", b"/list ", 1))
        self.assertTrue(body_of(answer) == MEBIBYTE * 20)


class StuckTests(TestCase):
    """A process whose application hangs must still end."""

    def blocks(self) -> Iterator[bytes]:
        """Never ends by itself."""
        self.running.set()
        self.release.wait(PATIENCE)
        yield b""

    async def test_stopping_is_bounded_and_tells_what_was_left(self) -> None:
        """Draining and stopping are done within their times; both tell what they left."""
        self.running, self.release = threading.Event(), threading.Event()
        self.addCleanup(self.release.set)

        def hang(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [])
            return self.blocks()

        workers = Workers(reactor, 1)
        workers.start()
        factory = HTTPFactory(hang, workers, reactor=reactor)
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)

        def ask() -> socket.socket:
            sock = socket.create_connection(("127.0.0.1", port.getHost().port), PATIENCE)
            sock.sendall(GET)
            return sock

        sock = await deferToThread(ask)
        self.addCleanup(sock.close)
        await deferToThread(self.running.wait, PATIENCE)
        await port.stopListening()
        self.assertEqual(await factory.drain(0.1), 1)
        self.assertEqual(await workers.stop(0.1), 1)
