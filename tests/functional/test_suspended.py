"""A real process that holds a lock, suspended for longer than its session."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.functional.processes import TIMEOUT
from zkservice.testing.apache import ApacheZooKeeper, skip_without_apache


@skip_without_apache
class SuspendedTests(TestCase):
    """SIGSTOP and SIGCONT, with Apache ZooKeeper."""

    def test_lease_is_not_certain_after_a_suspension(self) -> None:
        """Its lease is not certain at the first look, and its block ends with the loss."""
        server = ApacheZooKeeper()
        self.addCleanup(server.remove)
        server.start()
        holder = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.functional.suspended_holder",
                server.connection_string,
                "/lock",
            ],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(holder.wait)
        self.addCleanup(holder.kill)
        assert holder.stdout is not None
        self.addCleanup(holder.stdout.close)
        self.assertEqual(holder.stdout.readline(), "held True\n")
        holder.send_signal(signal.SIGSTOP)
        time.sleep(6.0)
        holder.send_signal(signal.SIGCONT)
        self.assertEqual(holder.communicate(timeout=TIMEOUT)[0], "not certain\nlost\n")
