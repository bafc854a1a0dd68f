"""Tests for `zkservice.service.process.exit`."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

import zkservice

#: The program of a process: it leaves a thread behind, and then has nothing else to do.
PROGRAM = """
import sys, threading, time
from twisted.logger import globalLogBeginner, textFileLogObserver
from zkservice.service.process.exit import force_exit
globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)

def forgotten():
    time.sleep({sleep})
    print("the thread has ended")

threading.Thread(target=forgotten, name="forgotten", daemon={daemon}).start()
force_exit(3, {grace})
print("the program has ended")
"""


class EndAnywayTests(SynchronousTestCase):
    """Real processes, whose ends are seen from outside."""

    def run_program(self, **values: object) -> tuple[int, str]:
        """The exit code and output of a process; it has to end within 50 s."""
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(**values)],
            env={**os.environ, "PYTHONPATH": os.path.dirname(next(iter(zkservice.__path__)))},
            capture_output=True,
            text=True,
            timeout=300,
        )
        return done.returncode, done.stdout + done.stderr

    def test_a_thread_that_does_not_end_is_cut_off(self) -> None:
        """A thread that does not end is named, and does not keep the process."""
        code, said = self.run_program(sleep=60, daemon=False, grace=0.1)
        self.assertEqual(code, 3, said)
        self.assertRegex(said, r"still run: forgotten; .* in 0\.1 s .*\nthe program has ended\n$")

    def test_a_thread_that_ends_in_time_is_waited_for(self) -> None:
        """A thread that ends in time does so, and the exit code is the program's own."""
        code, said = self.run_program(sleep=1, daemon=False, grace=60)
        self.assertEqual(code, 0, said)
        self.assertRegex(said, "the program has ended\nthe thread has ended\n$")

    def test_a_daemon_thread_is_not_waited_for(self) -> None:
        """A daemon thread is not waited for."""
        code, said = self.run_program(sleep=60, daemon=True, grace=60)
        self.assertEqual((code, said), (0, "the program has ended\n"))
