"""Tests for zkservice.web.accesslog, tracelog and logfile: what is written of a request."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.logger import capturedLogs
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from typing_extensions import override

from tests.web.support import GET, FrontEnd, StartResponse, hello
from zkservice.web import AccessLog, Limits, LogFile, TextView, TraceLog
from zkservice.web.accesslog import AccessRecord

NOON = datetime(2026, 11, 20, 12, tzinfo=timezone(timedelta(hours=1)))


class Lines:
    """Takes the lines of a log."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.reopened = 0

    def write(self, line: str) -> None:
        """Keep a line."""
        self.lines.append(line)

    def reopen(self) -> None:
        """Count it."""
        self.reopened += 1


class AccessLogTests(SynchronousTestCase):
    """A line for each response."""

    @override
    def setUp(self) -> None:
        self.lines = Lines()

    def end(
        self,
        application: Callable[..., Iterable[bytes]] = hello,
        style: str = "json",
        limits: Limits | None = None,
        **arguments: Any,
    ) -> FrontEnd:
        """A front end that logs."""
        log = AccessLog(self.lines, style, lambda: NOON)
        return FrontEnd(application, limits, access_log=log, **arguments)

    def logged(self) -> list[dict[str, Any]]:
        """The JSON lines."""
        return [json.loads(line) for line in self.lines.lines]

    def test_combined_is_apaches_format(self) -> None:
        """Apache's combined format, an id and three times behind it."""
        self.end(style="combined").get(
            b'GET /a?b HTTP/1.1\r\nHost: a\r\nUser-Agent: x "y" \xe9\r\nX-Request-ID: id-1\r\n\r\n'
        )
        self.assertEqual(
            self.lines.lines,
            [
                "198.51.100.7 - - [20/Nov/2026:12:00:00 +0100] "
                '"GET /a?b HTTP/1.1" 200 8 "-" "x \\"y\\" \\xc3\\xa9" "id-1" '
                "0.000000 0.000000 0.000000 complete"
            ],
        )

    def test_json_names_every_field(self) -> None:
        """Every field by its name."""
        self.end().get(
            b"GET / HTTP/1.1\r\nHost: a\r\nReferer: r\r\nUser-Agent: u\r\nX-Request-ID: i\r\n\r\n"
        )
        self.assertEqual(
            self.logged(),
            [
                {
                    "time": "2026-11-20T12:00:00+01:00",
                    "remote_addr": "198.51.100.7",
                    "request": "GET / HTTP/1.1",
                    "status": 200,
                    "body_bytes": 7,
                    "referer": "r",
                    "user_agent": "u",
                    "request_id": "i",
                    "waited": 0.0,
                    "application": 0.0,
                    "sending": 0.0,
                    "aborted": False,
                    "trace_id": "",
                    "request_bytes": 0,
                }
            ],
        )

    def test_the_three_times_are_logged(self) -> None:
        """The times of waiting, of the application and of sending are logged separately."""

        def slow(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
            end.clock.advance(2)
            client.transport.set_flowing(False)
            return hello(environ, start)

        end = self.end(slow)
        end.workers.holding = True
        client = end.connect()
        client.send(GET)
        end.clock.advance(1)
        end.workers.run()
        self.assertEqual(self.lines.lines, [])
        end.clock.advance(4)
        client.transport.set_flowing(True)
        (line,) = self.logged()
        times = [line[name] for name in ("waited", "application", "sending")]
        self.assertEqual(times, [1.0, 2.0, 4.0])

    def test_only_harmless_request_ids_are_kept(self) -> None:
        """A harmless id is passed on, any other is replaced; the application sees it."""
        seen: list[str] = []

        def application(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
            seen.append(environ["HTTP_X_REQUEST_ID"])
            return hello(environ, start)

        end = self.end(application)
        for sent in (b"good-1", b"b a d", b'"', b"x" * 129, b""):
            end.get(b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: " + sent + b"\r\n\r\n")
        self.assertEqual(seen[0], "good-1")
        self.assertEqual(len(set(seen)), 5)
        for made in seen[1:]:
            self.assertRegex(made, r"^[0-9a-f]{12}-[0-9a-f]+$")
        self.assertEqual([line["request_id"] for line in self.logged()], seen)

    def test_bytes_are_counted_without_framing(self) -> None:
        """What the application gave counts, not what the framing added."""

        def stream(environ: dict[str, Any], start: StartResponse) -> Iterator[bytes]:
            start("200 OK", [])
            yield from (b"abc", b"defg")

        self.end(stream).get()
        self.end(stream).get(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual([line["body_bytes"] for line in self.logged()], [7, 0])

    def test_client_that_leaves_a_stream(self) -> None:
        """What was sent counts, what waits does not, and the line says that it is not whole."""

        def stream(environ: dict[str, Any], start: StartResponse) -> Iterator[bytes]:
            start("200 OK", [("Content-Length", "100")])
            yield b"a" * 30
            client.transport.set_flowing(False)
            yield b"b" * 20
            client.leave()
            yield b"c" * 10

        end = self.end(stream)
        client = end.connect()
        client.send(GET)
        self.assertEqual(
            [(line["status"], line["body_bytes"], line["aborted"]) for line in self.logged()],
            [(200, 30, True)],
        )
        self.assertEqual(end.factory.statistics().aborted, 1)

    def test_client_that_leaves_before_it_has_read_all(self) -> None:
        """A response that the application has ended counts as far as the client took it."""

        def application(environ: dict[str, Any], start: StartResponse) -> Iterator[bytes]:
            start("200 OK", [("Content-Length", "50")])
            yield b"a" * 30
            client.transport.set_flowing(False)
            yield b"b" * 20

        end = self.end(application, "combined")
        client = end.connect()
        client.send(GET)
        self.assertEqual(self.lines.lines, [])
        client.leave()
        (line,) = self.lines.lines
        self.assertIn('" 200 30 "', line)
        self.assertTrue(line.endswith(" aborted"))
        self.assertEqual(end.factory.statistics().aborted, 1)

    def test_application_that_fails_in_the_middle(self) -> None:
        """What was sent before counts; it is aborted once, although the connection is cut."""

        def application(environ: dict[str, Any], start: StartResponse) -> Iterator[bytes]:
            start("200 OK", [("Content-Length", "50")])
            yield b"a" * 30
            raise ValueError("no more")

        end = self.end(application)
        client = end.connect()
        client.send(GET)
        client.leave()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(
            [(line["status"], line["body_bytes"], line["aborted"]) for line in self.logged()],
            [(200, 30, True)],
        )
        self.assertEqual(end.factory.statistics().aborted, 1)

    def test_everything_is_logged(self) -> None:
        """Views, refusals, turned away requests, and clients that left."""
        end = self.end(limits=Limits(queue=1), views={"/view": TextView(lambda environ: "")})
        end.get(GET.replace(b"/ ", b"/view "))
        end.get(b"GET / HTTP/3.0\r\n\r\n")
        end.workers.holding = True
        client = end.connect()
        client.send(GET)
        end.get(GET)
        client.leave()
        self.assertEqual([line["status"] for line in self.logged()], [200, 505, 503, 499])

    def test_without_a_log_there_is_no_request_id(self) -> None:
        """Without a log there is no request id either."""
        seen: list[bool] = []

        def application(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
            seen.append("HTTP_X_REQUEST_ID" in environ)
            return hello(environ, start)

        FrontEnd(application).get()
        self.assertEqual(seen, [False])

    def test_an_unknown_style_is_refused(self) -> None:
        """There are two styles."""
        self.assertRaises(ValueError, AccessLog, self.lines, "common")

    @given(st.text(), st.text(), st.text(), st.text(), st.text())
    @example("1.2.3.4\n5.6.7.8\x1b[2J", "\x7f", "\x7f", "\x9b2J", "\u2028")
    def test_no_text_forges_a_line(
        self, address: str, request: str, referer: str, agent: str, request_id: str
    ) -> None:
        """Whatever a client or a proxy says, a line is one line of so many fields."""
        record = AccessRecord(address, request, 200, 1, referer, agent, request_id, 0, 0, 0)
        for style in ("combined", "json"):
            lines = Lines()
            AccessLog(lines, style, lambda: NOON).write(record)
            (line,) = lines.lines
            self.assertTrue(line.isascii() and line.isprintable())
            if style == "json":
                read = json.loads(line)
                self.assertEqual((read["referer"], read["remote_addr"]), (referer, address))
            else:
                self.assertRegex(line, r"^[!-~]+ - - \[")
                fields = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
                self.assertEqual(len(fields), 4)


class TraceLogTests(SynchronousTestCase):
    """What each request is doing."""

    @override
    def setUp(self) -> None:
        self.lines = Lines()
        self.now = NOON.replace(tzinfo=None)
        self.log = TraceLog(self.lines, self.tick)

    def tick(self) -> datetime:
        """Each record comes half a second after the one before."""
        self.now += timedelta(seconds=0.5)
        return self.now

    def end(
        self, application: Callable[..., Iterable[bytes]] = hello, **arguments: Any
    ) -> FrontEnd:
        """A front end that traces."""
        return FrontEnd(application, trace_log=self.log, **arguments)

    def codes(self) -> list[str]:
        """The records without their times."""
        return [
            re.sub(r" 2026-11-20 \d\d:\d\d:\d\d(\.\d{6})?", "", line) for line in self.lines.lines
        ]

    def test_switch(self) -> None:
        """While it is off, new requests leave no records; a report starts anew afterwards."""
        end = self.end()
        self.log.switch(False)
        end.get()
        self.assertEqual(self.codes(), ["S 0"])
        self.log.switch(True)
        self.log.switch(True)
        end.get()
        self.assertEqual(self.codes()[:3], ["S 0", "S 0", "B 1 GET /"])

    def test_switched_off_meanwhile(self) -> None:
        """A request that is being traced is traced to its end."""
        end = self.end()
        end.workers.holding = True
        end.connect().send(GET)
        self.log.switch(False)
        end.workers.run()
        self.assertEqual([line[0] for line in self.codes()], ["S", "B", "I", "C", "A", "E"])

    def test_records_have_their_golden_bytes(self) -> None:
        """The records of one request, byte by byte."""
        self.end().get(
            b"POST /ok%20a%0Ab?q=%20 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
        )
        self.assertEqual(
            self.lines.lines,
            [
                "S 0 2026-11-20 12:00:00.500000",
                "B 1 2026-11-20 12:00:01 POST /ok a\\nb?q=%20",
                "I 1 2026-11-20 12:00:01.500000 3",
                "C 1 2026-11-20 12:00:02",
                "A 1 2026-11-20 12:00:02.500000 200 ?",
                "E 1 2026-11-20 12:00:03",
            ],
        )

    def test_only_a_declared_length_is_recorded(self) -> None:
        """A length that the application gives is recorded; that of a chunked request is not."""

        def application(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
            start("404 Not Found", [("Content-Length", "2")])
            return [b"no"]

        self.end(application).get(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
        )
        self.assertEqual(self.codes()[2:], ["I 1 0", "C 1", "A 1 404 2", "E 1"])

    def test_the_application_adds_records(self) -> None:
        """The application adds records by the key it always had."""

        def application(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
            trace = environ["zc.zservertracelog.interfaces.ITraceLog"]
            trace.log("a\nb")
            trace.log("1 2 3", "D")
            return hello(environ, start)

        self.end(application).get()
        self.assertEqual(self.codes()[4:6], ["- 1 a\\nb", "D 1 1 2 3"])

    def early(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        """Fail before the head."""
        raise ZeroDivisionError("x\ny")

    def late(self, environ: dict[str, Any], start: StartResponse) -> Iterator[bytes]:
        """Fail after the head."""
        start("200 OK", [])
        yield b"a"
        raise ZeroDivisionError("x")

    def test_failures_are_recorded_by_their_phase(self) -> None:
        """Before the head it is the answer that failed, after it the rest."""
        self.end(self.early).get()
        self.end(self.late).get()
        self.assertEqual(
            [line for line in self.codes() if line[0] in "CAE"],
            [
                *("C 1", "A 1 Error: ZeroDivisionError: x\\ny", "E 1"),
                *("C 2", "A 2 200 ?", "E 2 Error: ZeroDivisionError: x"),
            ],
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_each_beginning_has_an_end(self) -> None:
        """Turned away, given up, left alone: C, A and E come once each, in this order."""
        end = self.end(limits=Limits(queue=2, request_timeout=1))
        end.workers.holding = True
        clients = [end.connect() for _ in range(3)]
        for client in clients:
            client.send(GET)
        clients[0].leave()
        end.workers.run()

        def slow(environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
            end.clock.pump([1.0] * 3)
            return hello(environ, start)

        end = self.end(slow, limits=Limits(request_timeout=1))
        end.get()
        for number in range(1, 5):
            mine = [code for code in self.codes() if code.split()[1] == str(number)]
            self.assertEqual([code[0] for code in mine], ["B", "I", "C", "A", "E"], mine)

    def test_pipelined_requests_have_ids_of_their_own(self) -> None:
        """Two requests of one connection are two requests."""
        self.end().get(GET + GET)
        self.assertEqual({line.split()[1] for line in self.codes()}, {"0", "1", "2"})

    def test_tracereport_reads_it(self) -> None:
        """zc.zservertracelog's own report takes the file without a complaint."""
        try:
            from zc.zservertracelog import tracereport  # type: ignore[import-untyped, unused-ignore]
        except ImportError:
            raise SkipTest("pip install --no-deps zc.zservertracelog") from None
        self.test_each_beginning_has_an_end()
        self.end(self.early).get()
        self.end(self.late).get()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.end().get(GET * 5)
        path = Path(self.mktemp())
        path.write_text("\n".join(self.lines.lines) + "\n")
        output, argv = io.StringIO(), sys.argv
        self.addCleanup(setattr, sys, "argv", argv)
        with redirect_stdout(output):
            tracereport.main([str(path)])
        self.assertNotIn("WTF", output.getvalue())
        self.assertRegex(output.getvalue(), r"(?m)^ +[0-9.]+ +11 .* 0 /$")  # 11 requests, no hang


class LogFileTests(SynchronousTestCase):
    """Files that are moved away."""

    @override
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.file = LogFile(str(self.path))
        self.addCleanup(self.file.close)

    def test_lines_are_appended_at_once(self) -> None:
        """Lines are added to what is there, at once."""
        self.file.write("a")
        other = LogFile(str(self.path))
        self.addCleanup(other.close)
        other.write("b")
        self.file.write("c")
        self.assertEqual(self.path.read_text(), "a\nb\nc\n")

    def test_reopening_follows_a_rotation(self) -> None:
        """After a rotation lines go to the new file, and no descriptor is left."""
        self.file.write("a")
        before = len(os.listdir("/proc/self/fd"))
        self.path.rename(f"{self.path}.1")
        self.file.write("b")
        self.file.reopen()
        self.file.write("c")
        self.assertEqual(Path(f"{self.path}.1").read_text(), "a\nb\n")
        self.assertEqual(self.path.read_text(), "c\n")
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_logs_pass_it_on(self) -> None:
        """Both logs reopen their files."""
        lines = Lines()
        AccessLog(lines).reopen()
        TraceLog(lines, lambda: NOON).reopen()
        self.assertEqual(lines.reopened, 2)

    def test_no_such_folder(self) -> None:
        """A path that cannot be opened is found out at once."""
        self.assertRaises(OSError, LogFile, "/nonexistent/folder/log")

    def test_cannot_be_reopened(self) -> None:
        """If the new file cannot be opened, lines go to the old one, and the log says so."""
        self.file.path = "/nonexistent/folder/log"
        with capturedLogs() as said:
            self.file.reopen()
        self.file.write("kept")
        self.assertEqual(self.path.read_text(), "kept\n")
        self.assertEqual([one["path"] for one in said], ["/nonexistent/folder/log"])

    def test_a_full_disk_costs_lines_only(self) -> None:
        """A full disk costs lines, not requests; the log says so once, until it works again."""
        full = LogFile("/dev/full")
        self.addCleanup(full.close)
        with capturedLogs() as said:
            for _ in range(3):
                full.write("lost")
            full.path = str(self.path)  # as when an operator has made room
            full.reopen()
            full.write("there")
            full.path = "/dev/full"
            full.reopen()
            full.write("lost")
        self.assertEqual(self.path.read_text(), "there\n")
        self.assertEqual([one["path"] for one in said], ["/dev/full", "/dev/full"])

    def test_surrogates_are_written(self) -> None:
        """Whatever was decoded can be written."""
        self.file.write("a\udcffb")
        self.assertEqual(self.path.read_bytes(), b"a\\udcffb\n")

    @given(st.text())
    @example("a\r\nb\x1b[2Jc\x85d\u2028e\U000e0001")
    def test_any_text_is_one_line(self, text: str) -> None:
        """Whatever is written is one line of printable text."""
        start = self.path.stat().st_size
        self.file.write(text)
        line = self.path.read_bytes()[start:].decode()
        self.assertEqual(line[-1], "\n")
        self.assertTrue(line[:-1].isprintable())
        self.assertEqual(len(line.splitlines()), 1)

    def test_printable_text_is_kept(self) -> None:
        """Text that can be shown is written as it is."""
        self.file.write("naïve \\x1b 猫")
        self.assertEqual(self.path.read_text("utf-8"), "naïve \\x1b 猫\n")
