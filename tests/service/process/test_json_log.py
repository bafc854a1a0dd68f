"""Tests of ``zkservice.service.process.json_log``: one event is one JSON object on one line."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import IO, Any, cast

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.logger import FileLogObserver, Logger, LogLevel, LogPublisher, capturedLogs
from twisted.python.failure import Failure
from twisted.python.log import LogPublisher as LegacyLogPublisher
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.errors import ConfigurationError
from zkservice.service.process.json_log import (
    FormattedEvents,
    JSONFormat,
    LoggingToEvents,
    log_as_json,
    with_request,
)
from zkservice.service.process.loggers import PrintableEvents, escape_log_texts, escape_other_logs
from zkservice.supervisor.log_fields import event_fields
from zkservice.web.request_context import CURRENT, RequestContext

FORGED = 'disk\r\n{"time": "2026-11-20"}\x1b[2J\x9b\u2028\x7f\ud800'


class JSONFormatTests(SynchronousTestCase):
    """What a line holds."""

    @override
    def setUp(self) -> None:
        self.file = io.StringIO()
        observer = FileLogObserver(cast("IO[Any]", self.file), JSONFormat())
        self.publisher = LogPublisher(observer)
        escape_log_texts(self.publisher)
        self.log = Logger(namespace="test", observer=self.publisher)

    def written(self) -> dict[str, Any]:
        """The object on the one line that was written."""
        text = self.file.getvalue()
        self.file.seek(0)
        self.file.truncate()
        self.assertTrue(text.isascii() and text[:-1].isprintable(), text)
        self.assertEqual(text[-1], "\n")
        found: dict[str, Any] = json.loads(text)
        return found

    def test_an_event(self) -> None:
        """Time, level, component, event and the fields that its format names."""
        self.log.warn("{count} of {what.upper} in {list[0]}", count=3, what="x", list=[1], more=9)
        line = self.written()
        time = line.pop("time")
        self.assertRegex(time, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$")
        self.assertEqual(line["fields"], {"count": 3, "what": "x", "list": "[1]"})
        self.assertEqual((line["level"], line["component"]), ("warn", "test"))
        self.assertIn("3 of", line["event"])

    @given(st.text() | st.floats() | st.integers() | st.binary())
    @example(FORGED)
    @example(float("nan"))
    @example(10**5000)
    def test_hostile_values(self, value: object) -> None:
        """Whatever is in an event, it is one line of strict JSON."""
        self.log.info("out: {value}", value=value)
        text = self.file.getvalue()
        json.loads(text, parse_constant=self.fail)
        self.written()

    def test_values_that_have_no_text(self) -> None:
        """They do not keep an event out of the log."""

        class Silent:
            def __str__(self) -> str:
                raise ValueError

        self.log.info("a {value}", value=Silent())
        self.assertEqual(self.written()["fields"], {"value": "(Silent)"})

    def test_failures(self) -> None:
        """The traceback is a field of its own, also that of Twisted's older ``log.err``."""
        self.log.failure("it failed", Failure(ValueError(FORGED)))
        line = self.written()
        self.assertEqual((line["event"], line["level"]), ("it failed", "critical"))
        self.assertIn("ValueError", line["stack"])
        older = LegacyLogPublisher(publishPublisher=self.publisher)
        older.msg(failure=Failure(ValueError("old")), why="so", isError=1)
        line = self.written()
        self.assertEqual(line["event"], "so")
        self.assertIn("ValueError: old", line["stack"])

    def test_stacks(self) -> None:
        """So are the lines of code of an event that shows some."""
        self.log.warn("slow at\n{stack}", stack="  File\n    code")
        line = self.written()
        self.assertEqual((line["event"], line["stack"]), ("slow at", "  File\n    code"))
        self.assertEqual(line["fields"], {})

    def test_what_a_worker_says(self) -> None:
        """Its fields come through its parent."""
        fields = event_fields({"log_format": "{path}", "path": "/a", "request_id": "r", "pin": 1})
        self.assertEqual(fields, {"path": "/a", "request_id": "r"})
        self.log.info("{worker}: {text}", worker="worker 1", text="/a", worker_fields=fields)
        line = self.written()
        self.assertEqual(line["event"], "worker 1: /a")
        self.assertEqual(line["fields"], {"worker": "worker 1", "path": "/a", "request_id": "r"})

    def test_the_request_of_a_thread(self) -> None:
        """Its ids are in each event; nothing changes without one."""
        event: dict[str, Any] = {"log_format": "x"}
        self.assertIs(with_request(event), event)
        token = CURRENT.set(RequestContext("r-1", "t" * 32, "s" * 16))
        self.addCleanup(CURRENT.reset, token)
        self.log.info("x")
        self.assertEqual(
            self.written()["fields"],
            {"request_id": "r-1", "trace_id": "t" * 32, "span_id": "s" * 16},
        )

    def test_events_without_text(self) -> None:
        """They write nothing."""
        self.publisher({"log_time": 0.0, "log_format": ""})
        self.assertEqual(self.file.getvalue(), "")


class TwistdOptions(UsageOptions):
    """As much of twistd's as its log needs."""

    def __init__(self, logger: Any = None, syslog: bool = False, logfile: str = "") -> None:
        super().__init__()
        self.update(logger=logger, syslog=syslog, logfile=logfile, nodaemon=True, prefix="t")


class ObserverTests(SynchronousTestCase):
    """What twistd is given to log with."""

    def test_a_file_is_written_in_json(self) -> None:
        """``reopen_log_files`` finds it as it finds twistd's own."""
        options = TwistdOptions(logfile=self.mktemp())
        log_as_json(options)
        options.postOptions()
        observer = options["logger"]()
        self.assertIsInstance(observer, FileLogObserver)
        observer({"log_format": "hi", "log_level": LogLevel.info, "log_time": 0.0})
        with open(options["logfile"]) as file:
            self.assertEqual(json.loads(file.read())["event"], "hi")

    def test_an_observer_of_the_user(self) -> None:
        """It has a format of its own."""
        with self.assertRaises(ConfigurationError):
            log_as_json(TwistdOptions(logger="mine"))

    def test_others_get_printable_text(self) -> None:
        """An observer of the user's gets one line; what is printable, and failures, unchanged."""
        got: list[dict[str, Any]] = []
        options = TwistdOptions(logger=lambda: got.append)
        escape_other_logs(options)
        options.postOptions()
        observer = options["logger"]()
        self.assertIsInstance(observer, PrintableEvents)
        log = Logger(namespace="test", observer=observer)
        log.info("a {x}", x="\n[-] forged\x1b[2J")
        log.info("b {x}", x="y")
        log.failure("c", Failure(ValueError("z")))
        self.assertEqual(str(got[0]["log_text"]), "a \\x0a[-] forged\\x1b[2J")
        self.assertEqual((got[1]["log_format"], got[1]["x"]), ("b {x}", "y"))
        self.assertIn("log_failure", got[2])

    def test_syslog_gets_printable_text(self) -> None:
        """It sends each line of an event as a record of its own."""
        got: list[dict[str, Any]] = []
        observer = FormattedEvents(got.append, lambda event: "one\n")
        observer({"log_format": "a\n{b}", "b": 1, "log_level": LogLevel.info, "log_time": 0.0})
        observer({"log_format": "x", "log_level": LogLevel.info, "log_time": 0.0})
        self.assertEqual(
            got[0],
            {
                "log_format": "{log_text}",
                "log_text": "one",
                "log_level": LogLevel.info,
                "log_time": 0.0,
            },
        )

    def test_twistd_logs_as_it_does_without(self) -> None:
        """To a file, nothing is put in between."""
        options = TwistdOptions()
        escape_other_logs(options)
        options.postOptions()
        self.assertIsNone(options["logger"])
        self.assertRaises(UsageError, UsageOptions().parseOptions, ["--none"])


class LoggingTests(SynchronousTestCase):
    """The standard library's ``logging``, whose records become events."""

    def test_records_are_events(self) -> None:
        """With their level, their logger's name and their traceback."""
        logger = logging.Logger("shop")
        logger.addHandler(LoggingToEvents())
        with capturedLogs() as events:
            for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
                logger.log(level, "at %d", level)
            try:
                raise KeyError("k")
            except KeyError:
                logger.exception("failed")
        self.assertEqual(
            [event["log_level"].name for event in events],
            ["debug", "info", "warn", "error", "error"],
        )
        self.assertEqual({event["log_namespace"] for event in events}, {"shop"})
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_an_invalid_record_does_not_raise(self) -> None:
        """The application's call returns, as with the handlers of `logging`."""
        logger = logging.Logger("shop")
        logger.addHandler(LoggingToEvents())
        said = io.StringIO()
        self.patch(sys, "stderr", said)
        with capturedLogs() as events:
            logger.info("%d items", "no")
        self.assertEqual(events, [])
        self.assertIn("--- Logging error ---", said.getvalue())
