"""Tests for zkservice.web under load: too many, too long, stuck."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterable
from typing import Any

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.web.support import GET, FrontEnd, StartResponse, hello, split
from tests.web.test_workers import PATIENCE, Call, HandReactor
from zkservice.web import Limits, Workers
from zkservice.web.connections import descriptor_limit


class ShedTests(SynchronousTestCase):
    """More than there is room for."""

    def test_a_full_queue_is_a_503(self) -> None:
        """A full queue gets 503 at once, and the connection lives on."""
        end = FrontEnd(hello, Limits(queue=2, retry_after=7.5))
        end.workers.holding = True
        clients = [end.connect() for _ in range(4)]
        answers = [client.send(GET) for client in clients]
        self.assertEqual(answers[:2], [b"", b""])
        for client, answer in zip(clients[2:], answers[2:], strict=True):
            status, fields, body = split(answer)
            self.assertEqual(status, b"HTTP/1.1 503 Service Unavailable")
            self.assertEqual(fields["retry-after"], "8")
            self.assertIn(b"all threads are busy", body)
            self.assertFalse(client.closed)
        end.workers.holding = False
        end.workers.run()
        self.assertIn(b" 200 OK", clients[0].received())
        self.assertIn(b" 200 OK", clients[3].send(GET))
        self.assertEqual(end.factory.statistics().shed, 2)

    def test_the_log_says_it_once(self) -> None:
        """Shedding a thousand requests is two lines: when it begins and when it ends."""
        end = FrontEnd(hello, Limits(queue=4))
        end.workers.holding = True
        with capturedLogs() as events:
            for _ in range(20):
                end.connect().send(GET)
            end.workers.run()
            end.connect().send(GET)
        self.assertEqual([event["log_level"].name for event in events], ["warn", "info"])

    def test_body_is_not_asked_for(self) -> None:
        """A client that waits with its body is turned away before it sends it."""
        end = FrontEnd(hello, Limits(queue=1))
        end.workers.holding = True
        end.connect().send(GET)
        client = end.connect()
        answer = client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
        )
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 "))
        self.assertIn(b"Retry-After: 5", answer)

    def test_a_connection_too_many_is_refused(self) -> None:
        """A connection over the limit gets 503, and is closed."""
        end = FrontEnd(hello, Limits(connections=2))
        clients = [end.connect() for _ in range(3)]
        self.assertTrue(clients[2].received().startswith(b"HTTP/1.1 503 "))
        self.assertTrue(clients[2].closed)
        clients[2].leave()
        clients[1].leave()
        self.assertIn(b" 200 OK", clients[0].send(GET))
        self.assertIn(b" 200 OK", end.connect().send(GET))

    def test_the_application_has_descriptors_left(self) -> None:
        """At the limit of connections, with those that are refused."""
        for files, connections in ((1024, 896), (65_536, 65_408), (100, 25), (2, 1)):
            self.patch(resource, "getrlimit", lambda _, files=files: (files, files))
            self.assertEqual(descriptor_limit(), connections)

    def test_the_limit_of_open_files_limits_connections(self) -> None:
        """A larger limit of connections does not make the process run out of descriptors."""
        end = FrontEnd(hello, Limits(connections=10**9))
        self.assertEqual(end.factory.server.connections.limit, descriptor_limit())

    def test_flood_of_connections(self) -> None:
        """So many too many that answering them would take the last descriptors are cut."""
        end = FrontEnd(hello, Limits(connections=2))
        with capturedLogs() as logs:
            clients = [end.connect() for _ in range(50)]
            told = [client.received() for client in clients]
            for client in clients:
                client.leave()
        self.assertEqual(
            [formatEvent(log) for log in logs if "connections" in formatEvent(log)],
            [
                "2 connections are open; further ones get 503",
                "half of the connections are free again",
            ],
        )
        self.assertEqual([b" 503 " in each for each in told].count(True), 32)
        self.assertTrue(clients[-1].transport.aborted)


class OverrunTests(SynchronousTestCase):
    """Requests that run too long."""

    @override
    def setUp(self) -> None:
        self.during: list[Any] = []
        self.end = FrontEnd(self.application, Limits(request_timeout=5))
        self.client = self.end.connect()

    def application(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        """Take eight seconds, before the head or after it."""
        write = start("200 OK", [])
        if environ["PATH_INFO"] == "/late":
            write(b"some")
        self.end.clock.pump([1.0] * 8)
        self.during.append((self.client.received(), environ["zkservice.client_disconnected"]()))
        return [b"more"]

    def test_before_the_head(self) -> None:
        """The client gets 504, the log the stack; what comes later is dropped."""
        with capturedLogs() as events:
            answer = self.client.send(GET)
        ((answered, disconnected),) = self.during
        self.assertTrue(answered.startswith(b"HTTP/1.1 504 Gateway Timeout"))
        self.assertTrue(disconnected)
        self.assertEqual(answer, b"")
        (event,) = [event for event in events if "stack" in event]
        self.assertEqual(event["request"], "GET / from 198.51.100.7")
        self.assertGreaterEqual(event["seconds"], 5)
        self.assertEqual(len(self.end.workers.replaced), 1)
        self.assertEqual(self.end.factory.statistics().overrun, 1)

    def test_after_the_head(self) -> None:
        """Once something has gone, the connection is cut."""
        with capturedLogs():
            self.client.send(GET.replace(b"/ ", b"/late "))
        self.assertTrue(self.client.transport.aborted)

    def test_the_queue_is_free(self) -> None:
        """Waiting for a thread is not running."""
        self.end.workers.holding = True
        self.client.send(GET)
        self.end.clock.pump([1.0] * 20)
        self.assertEqual(self.client.received(), b"")
        self.assertEqual(self.end.factory.statistics().overrun, 0)


class ReplaceTests(SynchronousTestCase):
    """Threads that do not come back."""

    @override
    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.workers = Workers(self.reactor, 1, spares=1)
        self.workers.start()
        self.release = threading.Event()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """End all threads."""
        self.release.set()
        stopped: list[int] = []
        self.workers.stop(PATIENCE).addCallback(stopped.append)
        self.reactor.turn_until(lambda: bool(stopped))

    def hang(self) -> str:
        """Have a worker hang; returns the stack that is seen of it."""
        running = threading.Event()

        def wait_for_release() -> None:
            running.set()
            self.release.wait(PATIENCE)

        self.workers.submit(Call(wait_for_release))
        self.reactor.advance(0)
        self.assertTrue(running.wait(PATIENCE))
        (hanging,) = [each for each in self.workers.running() if each.job and not each.stuck]
        return hanging.stack

    def replace(self) -> bool:
        """Give up the thread that hangs."""
        (worker,) = self.workers._workers
        return self.workers.replace(worker)

    def test_replaced_up_to_a_bound(self) -> None:
        """One spare thread takes over; for a second stuck one there is none."""
        self.assertIn("wait_for_release", self.hang())
        self.assertTrue(self.replace())
        self.hang()
        self.assertFalse(self.replace())
        statistics = self.workers.statistics()
        self.assertEqual((statistics.threads, statistics.stuck), (0, 2))

    def test_thread_that_comes_back(self) -> None:
        """A stuck thread that returns ends, and there are as many as there should be."""
        for _ in range(2):
            self.hang()
            self.replace()
        self.release.set()
        self.reactor.turn_until(lambda: self.workers.statistics().stuck == 0)
        done: list[int] = []
        self.workers.submit(Call(lambda: self.workers.results.post(done.append, 1)))
        self.reactor.advance(0)
        self.reactor.turn_until(lambda: bool(done))
        self.assertEqual(self.workers.statistics().threads, 1)

    def test_stop_counts_them(self) -> None:
        """Stuck threads are waited for, counted and abandoned like others."""
        self.hang()
        self.replace()
        stopped = self.workers.stop(1)
        self.reactor.turn()
        self.reactor.advance(1)
        self.assertEqual(self.successResultOf(stopped), 1)
        self.workers.start()
