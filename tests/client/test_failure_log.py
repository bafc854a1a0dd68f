"""Tests for `zkservice.client.failure_log`."""

from __future__ import annotations

from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.client.failure_log import FailureLog
from zkservice.wire.hosts import Address

ONE, TWO = Address("zk1", 2181), Address("zk2", 2181)


class FailureLogTests(SynchronousTestCase):
    """An ensemble of two servers."""

    @override
    def setUp(self) -> None:
        captured = capturedLogs()
        self.events = captured.__enter__()
        self.addCleanup(captured.__exit__, None, None, None)
        self.log = FailureLog([ONE, TWO])

    def logged(self) -> list[tuple[str, str]]:
        """The server and the reason of each failure that was logged."""
        return [(event["server"], str(event["error"])) for event in self.events]

    def test_the_same_reason_is_logged_once(self) -> None:
        """A server that refuses several times is logged once."""
        for _ in range(3):
            self.log.failed(ONE, OSError("refused"))
        self.assertEqual(self.logged(), [("zk1:2181", "refused")])
        self.assertEqual([event["log_level"] for event in self.events], [LogLevel.debug])

    def test_another_reason_is_logged(self) -> None:
        """Each change of the reason is logged, also back to an earlier one."""
        for reason in ("refused", "timed out", "refused"):
            self.log.failed(ONE, OSError(reason))
        self.assertEqual(
            [reason for _, reason in self.logged()], ["refused", "timed out", "refused"]
        )

    def test_each_server_has_a_reason_of_its_own(self) -> None:
        """Servers that fail in turns for different reasons are logged once each."""
        for _ in range(3):
            self.log.failed(ONE, OSError("refused"))
            self.log.failed(TWO, OSError("timed out"))
        self.assertEqual(self.logged(), [("zk1:2181", "refused"), ("zk2:2181", "timed out")])

    def test_a_warning_names_all_servers_and_the_last_reason(self) -> None:
        """The warning is logged once, although round follows round."""
        error = OSError("Connection refused.")
        for _ in range(3):
            self.log.failed(TWO, error)
            self.log.all_failed()
        (warning,) = (event for event in self.events if event["log_level"] is LogLevel.warn)
        self.assertEqual(warning["servers"], "zk1:2181, zk2:2181")
        self.assertTrue(formatEvent(warning).endswith(": Connection refused; retrying"))

    def test_after_a_connection_everything_is_logged_again(self) -> None:
        """A new outage has its own lines, even for the same reasons."""
        for _ in range(2):
            self.log.failed(ONE, OSError("refused"))
            self.log.all_failed()
            self.log.connected()
        self.assertEqual(
            [event["log_level"] for event in self.events], [LogLevel.debug, LogLevel.warn] * 2
        )

    def test_the_last_error_is_kept_until_a_connection(self) -> None:
        """It is the reason of a `connect` that times out."""
        self.assertIsNone(self.log.last)
        first, second = OSError("refused"), OSError("refused")
        self.log.failed(ONE, first)
        self.log.failed(TWO, second)
        self.assertIs(self.log.last, second)
        self.log.connected()
        self.assertIsNone(self.log.last)
