"""Tests for zkservice.web.channel and factory: connections, limits, draining."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from errno import ENOSPC
from functools import partial
from itertools import count
from typing import Any
from unittest.mock import patch

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.web.support import GET, FrontEnd, StartResponse, hello, split
from zkservice.errors import RequestRefusedError
from zkservice.web import AccessRecord, Limits, window
from zkservice.web.file_segments import Spill
from zkservice.web.turns import Turns
from zkservice.web.window import SendWindow

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"


class ConnectionTests(SynchronousTestCase):
    """Requests and responses of one connection."""

    @override
    def setUp(self) -> None:
        self.end = FrontEnd(hello)

    def test_a_connection_serves_one_request_after_the_other(self) -> None:
        """One connection serves one request after the other."""
        client = self.end.connect()
        for _ in range(3):
            self.assertIn(b" 200 OK", client.send(GET))
        self.assertFalse(client.closed)

    def test_a_client_may_ask_to_close(self) -> None:
        """A client that asks to close gets ``Connection: close``, and is closed."""
        client = self.end.connect()
        answer = client.send(GET[:-2] + b"Connection: close\r\n\r\n")
        self.assertEqual(split(answer)[1]["connection"], "close")
        self.assertTrue(client.closed)

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        """Requests sent together are answered in order, one in service at a time."""
        self.end.workers.holding = True
        client = self.end.connect()
        client.send(b"".join(GET.replace(b"/ ", b"/%d " % n) for n in range(5)))
        bodies = []
        for _ in range(5):
            self.assertEqual(len(self.end.workers.jobs), 1)
            self.end.workers.run_one()
            bodies.append(split(client.received())[2])
        self.assertEqual(bodies, [b"hello /%d" % n for n in range(5)])

    def test_pipeline_is_bounded(self) -> None:
        """Nothing more is read while much is waiting; reading goes on afterwards."""
        self.end.workers.holding = True
        client = self.end.connect()
        client.send(GET)
        client.send(GET * 4000)
        self.assertEqual(client.transport.producerState, "paused")
        self.end.workers.holding = False
        self.end.workers.run()
        self.end.clock.pump([0] * 130)  # after some requests others have a turn
        self.assertEqual(client.transport.producerState, "producing")
        self.assertEqual(client.received().count(b"200 OK"), 4001)

    def test_a_refused_client_gets_a_page(self) -> None:
        """A refused client gets a page it can read, and nothing more is read from it."""
        client = self.end.connect()
        answer = client.send(GET + b"GET / HTTP/1.1\r\n\r\n" + GET)
        self.assertEqual(answer.count(b"Server: "), 2)
        self.assertIn(b"400 Bad Request\n\nan HTTP/1.1 request needs a Host field", answer)
        self.assertTrue(client.transport.half_closed)
        self.assertFalse(client.transport.disconnecting)
        self.assertEqual(client.send(GET), b"")
        self.end.clock.pump([1.0] * 5)
        self.assertTrue(client.transport.aborted)

    def test_refused_client_that_sends_on(self) -> None:
        """The patience for a refused client is bounded in bytes, too."""
        client = self.end.connect()
        client.send(b"\0")
        client.send(b"x" * 40_000)
        self.assertFalse(client.transport.aborted)
        client.send(b"x" * 40_000)
        self.assertTrue(client.transport.aborted)

    def test_a_waiting_client_gets_100_continue(self) -> None:
        """A client that waits with its body gets ``100 Continue``."""
        client = self.end.connect()
        told = client.send(POST[:-2] + b"Expect: 100-continue\r\n\r\n")
        self.assertEqual(told, b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertIn(b" 200 OK", client.send(b"x" * 10))

    def test_half_closed_client(self) -> None:
        """A client that has sent all it had still gets its answer; then we close."""
        self.end.workers.holding = True
        client = self.end.connect()
        client.send(GET)
        exchange: Any = self.end.workers.jobs[0]
        client.channel.readConnectionLost()
        self.assertTrue(exchange.client_disconnected())
        self.end.workers.run()
        self.assertIn(b" 200 OK", client.received())
        self.assertTrue(client.transport.disconnecting)

    def test_half_closed_pipeline(self) -> None:
        """Whatever was complete before the client's last byte is answered."""
        self.end.workers.holding = True
        client = self.end.connect()
        client.send(GET * 3 + GET[:-2])
        client.channel.readConnectionLost()
        for _ in range(3):
            self.assertFalse(client.closed)
            exchange: Any = self.end.workers.jobs[0]
            self.assertTrue(exchange.client_disconnected())
            self.end.workers.run_one()
        self.assertEqual(client.received().count(b" 200 OK"), 3)
        self.assertTrue(client.transport.disconnecting)

    def test_half_closed_while_idle(self) -> None:
        """A client that leaves in between is let go at once."""
        client = self.end.connect()
        client.send(GET)
        client.channel.readConnectionLost()
        self.assertTrue(client.transport.disconnecting)

    def test_cut_response_is_the_last(self) -> None:
        """What is pipelined behind a response that had to be cut is not served."""

        def application(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
            start("200 OK", [("Content-Length", "9")])
            return [environ["PATH_INFO"].encode()]

        client = FrontEnd(application).connect()
        answer = client.send(GET.replace(b"/ ", b"/1 ") + GET.replace(b"/ ", b"/2 "))
        self.assertTrue(client.transport.aborted)
        self.assertEqual(split(answer)[2], b"/1")

    def test_client_that_left_is_not_served(self) -> None:
        """A request whose client has gone does not reach the application."""
        served: list[object] = []

        def application(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
            served.append(environ)
            return hello(environ, start)

        end = FrontEnd(application)
        end.workers.holding = True
        client = end.connect()
        client.send(GET)
        client.leave()
        end.workers.run()
        self.assertEqual(served, [])

    def test_nothing_is_left_behind(self) -> None:
        """When the last connection has gone, the reactor is clean."""
        clients = [self.end.connect() for _ in range(3)]
        clients[0].send(GET)
        clients[1].send(POST)
        for client in clients:
            client.leave()
        self.assertEqual(self.end.clock.getDelayedCalls(), [])
        self.assertEqual(self.end.factory.statistics().connections, 0)


class SlowReaderTests(SynchronousTestCase):
    """Clients that do not read what they asked for."""

    @override
    def setUp(self) -> None:
        self.end = FrontEnd(self.application, Limits(response_memory=100, response_patience=0))
        self.client = self.end.connect()

    def application(self, environ: dict[str, Any], start: StartResponse) -> Iterator[bytes]:
        """Answer with many blocks; the client stops reading after the first."""
        start("200 OK", [("Content-Length", "260")])
        for letter in b"abcdefghijklmnopqrstuvwxyz":
            yield bytes([letter]) * 10
            self.client.transport.set_flowing(False)

    def test_the_rest_waits_in_order(self) -> None:
        """What waits in memory and then in a file leaves in its order, and all of it."""
        answer = self.client.send(GET)
        self.assertTrue(answer.endswith(b"\r\n\r\naaaaaaaaaa"))
        output = self.client.channel._output
        self.assertEqual((output.backlog, output.file_backlog), (110, 140))
        self.client.transport.set_flowing(True)
        self.assertEqual(
            self.client.received(),
            b"".join(bytes([each]) * 10 for each in b"bcdefghijklmnopqrstuvwxyz"),
        )
        self.assertEqual((output.backlog, output.file_backlog), (0, 0))

    def test_a_full_disk_cuts_the_response_off(self) -> None:
        """A response whose rest cannot be stored is cut off; the log says why, in one line."""
        with (
            patch.object(window, "Spill", partial(Spill, lambda: open("/dev/full", "r+b"))),
            patch.object(os, "pwrite", side_effect=OSError(ENOSPC, "No space left on device")),
            capturedLogs() as captured,
        ):
            self.client.send(GET)
        self.assertTrue(self.client.transport.aborted)
        lines = [formatEvent(event) for event in captured]
        self.assertEqual(
            lines,
            [
                "the response to GET / is cut off: "
                "a temporary file for a slow client failed: No space left on device"
            ],
        )
        self.client.leave()
        self.assertEqual(self.end.factory.statistics().connections, 0)

    def test_memory_is_used_again(self) -> None:
        """A client that catches up gets the next blocks from memory."""
        window = SendWindow(100, 0, 1000)
        places = [window.reserve(60), window.reserve(60)]
        window.take(60, 0)
        self.assertEqual([*places, window.reserve(60)], [True, False, True])

    def test_worker_that_is_needed(self) -> None:
        """A worker has a tenth of its patience while others wait for it."""
        for needed, glances in ((False, 20), (True, 2)):
            seconds = itertools.count()
            answer = [needed].__getitem__
            window = SendWindow(100, 20, 1000, partial(answer, 0), partial(next, seconds))
            window.reserve(60)
            self.assertFalse(window.reserve(60))
            self.assertEqual(next(seconds), glances * 2)

    def test_a_waiting_worker_gets_room_when_there_is_some(self) -> None:
        """A waiting worker gets room in the window as soon as another one releases some."""
        window = SendWindow(100, 1e9, 1000)
        window.reserve(60)
        helper = threading.Thread(target=window.take, args=(60, 0))
        helper.start()
        self.assertTrue(window.reserve(60))
        helper.join()

    def test_gets_no_second_answer(self) -> None:
        """The next request is not served before the last answer was read."""
        self.client.send(GET + GET)
        self.assertEqual(self.end.factory.statistics().requests, 1)
        self.client.transport.set_flowing(True)
        self.assertEqual(self.end.factory.statistics().requests, 2)

    def test_half_closed_pipeline(self) -> None:
        """A half-closed client gets its second answer once it has read the first."""
        self.client.send(GET + GET)
        self.client.channel.readConnectionLost()
        self.assertFalse(self.client.closed)
        for _ in range(2):
            self.client.transport.set_flowing(True)
        self.assertEqual(self.client.received().count(b"zzzzzzzzzz"), 2)
        self.assertTrue(self.client.transport.disconnecting)

    def test_last_answer_that_is_not_read(self) -> None:
        """A client that does not even read why it was refused is cut off."""
        client = self.end.connect()
        client.transport.set_flowing(False)
        client.channel._refuse(RequestRefusedError(400, "no"))
        self.end.clock.pump([1.0] * 62)
        self.assertTrue(client.transport.aborted)

    def test_a_stalled_client_is_cut_off(self) -> None:
        """A client that takes nothing for a minute is cut off."""
        self.client.send(GET)
        self.end.clock.pump([1.0] * 59)
        self.assertFalse(self.client.transport.aborted)
        self.end.clock.pump([1.0] * 3)
        self.assertTrue(self.client.transport.aborted)

    def test_leaves_no_file(self) -> None:
        """The file goes with the client."""
        gc.collect()  # what other tests have left must not go meanwhile
        before = temporary_files()
        self.client.send(GET)
        (spill,) = temporary_files() - before
        self.client.transport.producer.stopProducing()  # type: ignore[union-attr]
        self.client.leave()
        self.assertNotIn(spill, temporary_files())


def temporary_files() -> set[str]:
    """The open files without a name."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one of the folder itself
            found.add(os.readlink(f"/proc/self/fd/{number}"))
    return {path for path in found if path.endswith(" (deleted)")}


class DeadlineTests(SynchronousTestCase):
    """Clients that take their time."""

    @override
    def setUp(self) -> None:
        self.end = FrontEnd(hello, Limits(keep_alive=5, head_timeout=3, body_grace=3, body_rate=2))
        self.client = self.end.connect()

    def wait(self, seconds: int) -> bytes:
        """Let time pass; returns what came meanwhile."""
        self.end.clock.pump([1.0] * seconds)
        return self.client.received()

    def test_a_silent_connection_is_closed(self) -> None:
        """A connection on which nothing happens is closed without a word."""
        self.assertEqual(self.wait(4), b"")
        self.assertFalse(self.client.closed)
        self.assertEqual(self.wait(3), b"")
        self.assertTrue(self.client.transport.disconnecting)

    def test_idle_after_a_request(self) -> None:
        """The time starts anew with each request."""
        for _ in range(4):
            self.wait(3)
            self.assertIn(b" 200 OK", self.client.send(GET))
        self.wait(7)
        self.assertTrue(self.client.transport.disconnecting)

    def test_a_dripping_head_times_out(self) -> None:
        """A head must be complete in time, however steadily it drips."""
        for at in range(3):
            self.assertEqual(self.client.send(GET[at : at + 1]), b"")
            self.wait(1)
        self.assertIn(b" 408 Request Timeout", self.wait(2))

    def test_a_dripping_body_times_out(self) -> None:
        """A body slower than the rate is given up after the grace."""
        self.client.send(POST)
        for _ in range(3):
            self.client.send(b"x")
            self.assertEqual(self.wait(1), b"")
        self.assertIn(b" 408 Request Timeout", self.wait(4))

    def test_body_at_the_rate(self) -> None:
        """A body that is just fast enough arrives."""
        self.client.send(POST)
        for _ in range(4):
            self.assertEqual(self.client.send(b"xx"), b"")
            self.wait(1)
        self.assertIn(b" 200 OK", self.client.send(b"xx"))

    def test_keep_alive_of_zero(self) -> None:
        """Without keep-alive each response is the last, and the first request has its time."""
        end = FrontEnd(hello, Limits(keep_alive=0))
        client = end.connect()
        end.clock.pump([1.0] * 5)
        self.assertEqual(split(client.send(GET))[1]["connection"], "close")
        self.assertTrue(client.closed)

    def test_no_deadline_in_the_application(self) -> None:
        """While a request is served, the client cannot be late."""
        self.end.workers.holding = True
        self.client.send(GET)
        self.wait(100)
        self.end.workers.run()
        self.assertIn(b" 200 OK", self.client.received())


class StorageTests(SynchronousTestCase):
    """Bodies for which there is no room, on a disk that is full or within the bound."""

    LARGE = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + b"x" * 60

    def full(self) -> FrontEnd:
        """A front end whose temporary files are on a full disk."""
        end = FrontEnd(hello, Limits(body_memory=50, body_disk=1000, connections=2))
        storage = end.factory._bodies
        storage.new_file = lambda: open("/dev/full", "r+b", buffering=0)  # noqa: SIM115
        return end

    def test_an_upload_to_a_full_disk_is_a_507(self) -> None:
        """Each upload gets 507, and none keeps its connection's place."""
        end = self.full()
        for number in range(8):
            client = end.connect()
            self.assertIn(b" 507 Insufficient Storage", client.send(self.LARGE))
            client.leave()
            self.assertEqual(end.factory.statistics().connections, 0, number)
        self.assertEqual(end.factory.statistics().shed, 8)
        self.assertIn(b" 200 OK", end.get())

    def test_full_disk_is_logged(self) -> None:
        """The log says why, once a minute."""
        end = self.full()
        with capturedLogs() as captured:
            for seconds in (0, 1, 60):
                end.clock.advance(seconds)
                client = end.connect()
                client.send(self.LARGE)
                client.leave()
        lines = [formatEvent(event) or "" for event in captured]
        lines = [line for line in lines if "No space left on device" in line]
        self.assertEqual(len(lines), 2)
        self.assertIn("are refused with 507", lines[0])

    def test_drain_with_a_full_disk(self) -> None:
        """The uploads that met it do not hold up the end of the process."""
        end = self.full()
        client = end.connect()
        client.send(self.LARGE)
        client.leave()
        self.assertEqual(self.successResultOf(end.factory.drain(30)), 0)

    def test_bound_of_all_bodies(self) -> None:
        """What would not fit beside the others gets 503 at its head, and fits after they end."""
        end = FrontEnd(hello, Limits(body_memory=50, body_disk=150))
        first = end.connect()
        first.send(self.LARGE)
        refused = end.get(self.LARGE.replace(b"Host", b"Expect: 100-continue\r\nHost"))
        self.assertIn(b" 503 ", refused)
        self.assertIn(b"Retry-After: ", refused)
        self.assertIn(b" 200 OK", first.send(b"x" * 40))
        self.assertIn(b" 200 OK", end.get(self.LARGE + b"x" * 40))

    def test_clean_up_that_fails(self) -> None:
        """Whatever fails while a connection is cleaned up, its place is free."""
        log = FailingLog()
        end = FrontEnd(hello, access_log=log)
        end.workers.holding = True
        client = end.connect()
        client.send(GET)
        client.leave()
        self.assertEqual(end.factory.statistics().connections, 0)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class FailingLog:
    """An access log that cannot be written."""

    def write(self, record: AccessRecord) -> None:
        """Fail."""
        raise RuntimeError("no log")


class NextTurns:
    """A reactor of which one turn at a time is seen; a ``Clock`` runs them all at once."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def callLater(self, delay: float, function: Callable[[], None]) -> None:  # noqa: N802
        """Keep what is to be called in the next turn."""
        self.calls.append(function)

    def turn(self) -> None:
        """Call what was kept before."""
        calls, self.calls = self.calls, []
        for function in calls:
            function()


class TurnTests(SynchronousTestCase):
    """Bodies in tiny chunks, which cost far more to parse than to send."""

    HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

    def test_connections_take_turns(self) -> None:
        """Others are served between the parts of what one client has sent at once."""
        end = FrontEnd(hello)
        client = end.connect()
        self.assertEqual(client.send(self.HEAD + b"1\r\na\r\n" * 1000 + b"0\r\n\r\n"), b"")
        self.assertEqual(client.transport.producerState, "paused")
        self.assertIn(b" 200 OK", end.get())
        end.clock.pump([0] * 10)
        self.assertIn(b" 200 OK", client.received())
        self.assertEqual(client.transport.producerState, "producing")

    def test_more_is_read_once_all_is_parsed(self) -> None:
        """When everything that has come is parsed, more is read, and its time is limited."""
        end = FrontEnd(hello)
        client = end.connect()
        client.send(self.HEAD + b"1\r\na\r\n" * 1000)
        end.clock.pump([0] * 10)
        self.assertEqual(client.transport.producerState, "producing")
        end.clock.pump([1] * 40)
        self.assertIn(b" 408 ", client.received())

    def test_client_that_closes_its_side(self) -> None:
        """A client that sends no more is still answered what it has sent."""
        end = FrontEnd(hello)
        client = end.connect()
        client.send(self.HEAD + b"1\r\na\r\n" * 1000 + b"0\r\n\r\n")
        client.channel.readConnectionLost()
        end.clock.pump([0] * 10)
        self.assertIn(b" 200 OK", client.received())

    def test_client_that_leaves(self) -> None:
        """Nothing is parsed for a client that has left."""
        end = FrontEnd(hello)
        client = end.connect()
        client.send(self.HEAD + b"1\r\na\r\n" * 1000)
        client.leave()
        end.clock.pump([0] * 10)
        self.assertEqual((client.received(), end.clock.getDelayedCalls()), (b"", []))

    def test_refused_in_a_later_turn(self) -> None:
        """What breaks a rule behind the first part is refused as ever."""
        end = FrontEnd(hello)
        client = end.connect()
        client.send(self.HEAD + b"1\r\na\r\n" * 1000 + b"x\r\n")
        end.clock.pump([0] * 10)
        self.assertIn(b" 400 ", client.received())

    def test_round_robin_within_a_share(self) -> None:
        """When their share of a turn is over, the others go on in the next, each in its place."""
        reactor = NextTurns()
        now = count(0, 0.0011)
        turns = Turns(reactor, lambda: next(now))
        seen: list[str] = []
        for name in "abc":
            turns.wait(partial(seen.append, name))
        reactor.turn()
        self.assertEqual(seen, ["a", "b"])
        reactor.turn()
        self.assertEqual((seen, reactor.calls), (["a", "b", "c"], []))

    def test_a_failing_step_does_not_stop_others(self) -> None:
        """A step that fails does not keep the others from their turn."""
        clock = Clock()
        turns = Turns(clock, lambda: 0.0)
        seen: list[str] = []
        turns.wait(partial(next, iter(())))
        turns.wait(partial(seen.append, "b"))
        clock.advance(0)
        self.assertEqual(seen, ["b"])
        self.assertEqual(len(self.flushLoggedErrors(StopIteration)), 1)


class DrainTests(SynchronousTestCase):
    """Leaving without losing a request."""

    @override
    def setUp(self) -> None:
        self.end = FrontEnd(hello, Limits(drain_linger=2))

    def test_without_connections_it_is_done_at_once(self) -> None:
        """With no connection there is nothing to wait for."""
        self.assertEqual(self.successResultOf(self.end.factory.drain(10)), 0)
        self.assertEqual(self.end.clock.getDelayedCalls(), [])

    def test_idle_clients_are_closed_after_the_linger(self) -> None:
        """An idle client is closed after the linger, and then it is done."""
        client = self.end.connect()
        drained = self.end.factory.drain(10)
        self.end.clock.pump([0.5] * 4)
        self.assertTrue(client.transport.disconnecting)
        self.assertNoResult(drained)
        client.leave()
        self.assertEqual(self.successResultOf(drained), 0)

    def test_one_more_request(self) -> None:
        """A client that had not heard yet is answered, with ``Connection: close``."""
        client = self.end.connect()
        client.send(GET)
        self.end.factory.drain(10)
        answer = client.send(GET)
        self.assertEqual(split(answer)[1]["connection"], "close")
        self.assertTrue(client.closed)

    def test_a_running_request_is_finished(self) -> None:
        """A request that runs is finished; nothing is cut."""
        self.end.workers.holding = True
        client = self.end.connect()
        client.send(GET)
        drained = self.end.factory.drain(10)
        self.end.clock.pump([1.0] * 8)
        self.end.workers.run()
        self.assertEqual(split(client.received())[1]["connection"], "close")
        client.leave()
        self.assertEqual(self.successResultOf(drained), 0)

    def test_response_that_promised_to_stay(self) -> None:
        """A response that began before the draining does not hold it up afterwards."""

        def application(environ: dict[str, Any], start: StartResponse) -> Iterator[bytes]:
            start("200 OK", [])
            yield b"a"
            self.drained = end.factory.drain(100)
            end.clock.pump([1.0] * 5)
            yield b"b"

        end = FrontEnd(application, Limits(drain_linger=2))
        client = end.connect()
        self.assertNotIn(b"Connection: close", client.send(GET))
        self.assertFalse(client.closed)
        end.clock.pump([0.5] * 8)
        self.assertTrue(client.closed)
        client.leave()
        self.assertEqual(self.successResultOf(self.drained), 0)

    def test_a_late_connection_is_served_or_closed(self) -> None:
        """A connection that was still in the kernel's queue is served, or soon closed."""
        self.end.connect()
        self.end.factory.drain(100)
        asking, silent = self.end.connect(), self.end.connect()
        self.assertIn(b" 200 OK", asking.send(GET))
        self.end.clock.pump([0.5] * 8)
        self.assertTrue(silent.closed)

    def test_time_is_up(self) -> None:
        """A connection that does not finish in time is cut off and counted."""
        self.end.workers.holding = True
        running, idle = self.end.connect(), self.end.connect()
        running.send(GET)
        drained = self.end.factory.drain(1)
        self.end.clock.advance(1)
        self.assertTrue(running.transport.aborted)
        self.assertTrue(idle.closed)
        self.assertEqual(self.successResultOf(drained), 1)

    def test_statistics_match_what_happened(self) -> None:
        """What is said matches what happened."""
        client = self.end.connect()
        client.send(GET + GET)
        client.send(b"\0")
        statistics = self.end.factory.statistics()
        self.assertEqual(
            (statistics.connections, statistics.accepted, statistics.requests), (1, 1, 2)
        )
        self.assertEqual((statistics.responded, statistics.refused), (2, 1))
