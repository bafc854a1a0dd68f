"""Tests for `zkservice.service.process.loggers`: one event is one record of printable text."""

from __future__ import annotations

import io
import logging
from typing import IO, Any, cast

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.logger import Logger, LogPublisher, STDLibLogObserver, textFileLogObserver
from twisted.python.failure import Failure
from twisted.python.log import LogPublisher as LegacyLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.errors import ConfigurationError
from zkservice.service.process import loggers
from zkservice.service.process.loggers import (
    EscapeRecords,
    RecordLines,
    escape_log_texts,
    logger_level,
)

FORGED = "disk\r\n2026-11-20T12:00:00+0000 [-] forged\x1b[2J\x9b\u2028\x7f"


class RecordLinesTests(SynchronousTestCase):
    """Records of `logging` as lines for twistd's log."""

    @override
    def setUp(self) -> None:
        self.file = io.StringIO()
        self.logger = logging.Logger("shop")
        handler = logging.StreamHandler(self.file)
        handler.setFormatter(RecordLines(logging.BASIC_FORMAT))
        self.logger.addHandler(handler)

    def test_a_record_is_one_line(self) -> None:
        """Whatever a client has sent; other handlers get it as it was."""
        records: list[logging.LogRecord] = []
        other = logging.Handler()
        self.patch(other, "emit", records.append)
        self.logger.addHandler(other)
        self.logger.warning("asked for %s", FORGED)
        (line,) = self.file.getvalue().splitlines()
        self.assertTrue(line.startswith("WARNING:shop:asked for disk\\x0d\\x0a2026"))
        self.assertTrue(line.isprintable())
        self.assertEqual(records[0].getMessage(), f"asked for {FORGED}")
        self.assertIsNone(records[0].exc_text)

    def test_tracebacks_are_indented(self) -> None:
        """Also the lines of an exception's message."""
        try:
            raise ValueError(FORGED)
        except ValueError:
            self.logger.exception("it failed")
        first, *others = self.file.getvalue().removesuffix("\n").split("\n")
        self.assertEqual(first, "ERROR:shop:it failed")
        self.assertEqual([line[0] for line in others], ["\t"] * len(others))


class TwistdLogTests(SynchronousTestCase):
    """The log file of twistd."""

    @override
    def setUp(self) -> None:
        self.file = io.StringIO()
        self.publisher = LogPublisher(textFileLogObserver(cast("IO[Any]", self.file)))
        escape_log_texts(self.publisher)
        escape_log_texts(self.publisher)  # as when two services run in one process
        self.log = Logger(namespace="test", observer=self.publisher)

    def written(self) -> str:
        """What came into the file since the last time."""
        text = self.file.getvalue()
        self.file.seek(0)
        self.file.truncate()
        return text

    @given(st.text())
    @example(FORGED)
    def test_one_record_is_one_line(self, reason: str) -> None:
        """An event without a traceback is one line of printable text, whatever is in it."""
        self.log.warn("out: {reason}", reason=reason)
        line = self.written()
        self.assertEqual(line[-1], "\n")
        self.assertTrue(line[:-1].isprintable())

    def test_escaping_is_reversible_and_done_once(self) -> None:
        """What is escaped can be recognized, and nothing is escaped twice."""
        self.log.info("a\nb\x1b[0m\té")
        self.assertTrue(self.written().endswith(" a\\x0ab\\x1b[0m\\x09é\n"))

    @given(st.text())
    @example(FORGED)
    def test_tracebacks_are_indented(self, message: str) -> None:
        """Only the first line of a traceback begins a record; all are printable."""
        self.log.failure("it failed", Failure(ValueError(message)))
        first, *others = self.written().removesuffix("\n").split("\n")
        self.assertIn("it failed", first)
        self.assertGreater(len(others), 0)
        for line in others:
            self.assertEqual(line[:1], "\t")
            self.assertTrue(line.replace("\t", "").isprintable(), line)

    def test_tracebacks_of_the_reactor_are_indented(self) -> None:
        """So are those that come by Twisted's older ``log.err``."""
        older = LegacyLogPublisher(publishPublisher=self.publisher)
        older.msg(failure=Failure(ValueError(FORGED)), why="it failed", isError=1)
        first, *others = self.written().removesuffix("\n").split("\n")
        self.assertTrue(first.endswith(" it failed"), first)
        self.assertGreater(len(others), 0)
        for line in others:
            self.assertEqual(line[:1], "\t")
            self.assertTrue(line.replace("\t", "").isprintable(), line)

    def test_an_event_without_text_writes_nothing(self) -> None:
        """An event without text writes nothing."""
        self.publisher({"log_time": 0.0, "log_format": ""})
        self.assertEqual(self.written(), "")


class StandardLogTests(SynchronousTestCase):
    """The standard library's `logging`, where Paste runs the service."""

    @override
    def setUp(self) -> None:
        self.file = io.StringIO()
        logger = logging.Logger("zkservice.test")
        logger.addHandler(logging.StreamHandler(self.file))
        logger.addFilter(EscapeRecords())
        observer = STDLibLogObserver("zkservice.test")
        observer.logger = logger
        self.log = Logger(namespace="test", observer=observer)

    @given(st.text())
    @example(FORGED)
    def test_one_record_is_one_line(self, reason: str) -> None:
        """A record without a traceback is one line of printable text."""
        self.file.seek(0)
        self.file.truncate()
        self.log.warn("out: {reason}", reason=reason)
        line = self.file.getvalue()
        self.assertEqual(line[-1], "\n")
        self.assertTrue(line[:-1].isprintable())

    def test_traceback_is_printable(self) -> None:
        """The lines of a traceback are printable."""
        self.log.failure("it failed", Failure(ValueError(FORGED)))
        lines = self.file.getvalue().removesuffix("\n").split("\n")
        self.assertEqual([line for line in lines if not line.isprintable()], [])
        self.assertGreater(len(lines), 1)


class LevelTests(SynchronousTestCase):
    """Levels that operators set."""

    @override
    def setUp(self) -> None:
        self.addCleanup(logging.getLogger("tests.level").setLevel, logging.NOTSET)

    def test_set_and_shown(self) -> None:
        """The level that counts is shown, also where a logger above has it."""
        self.assertEqual(logger_level("tests.level", "debug"), "DEBUG")
        self.assertEqual(logger_level("tests.level"), "DEBUG")
        self.assertEqual(logger_level("tests.level.below.it"), "DEBUG")
        self.assertEqual(logger_level("tests.level", "15"), "Level 15")
        self.assertEqual(logger_level("tests.level", "NOTSET"), logger_level("root"))

    def test_asking_creates_no_logger(self) -> None:
        """Names that an operator mistypes leave nothing behind."""
        logger_level("tests.no.such.logger")
        self.assertNotIn("tests.no.such.logger", logging.Logger.manager.loggerDict)

    def test_mistakes(self) -> None:
        """An invalid level or name is refused."""
        for name, level in (("a", "LOUD"), ("a", "1001"), ("a", "²"), ("a", "9" * 5000)):
            self.assertRaises(ConfigurationError, logger_level, name, level)
        self.assertRaises(ConfigurationError, logger_level, "x" * 201)
        self.assertNotIn("a", logging.Logger.manager.loggerDict)

    def test_bound(self) -> None:
        """Operators cannot add loggers without end."""
        self.patch(loggers, "_MAX_LOGGERS", 0)
        self.assertRaises(ConfigurationError, logger_level, "tests.one.more", "INFO")
        self.assertEqual(logger_level("tests.level", "INFO"), "INFO")
