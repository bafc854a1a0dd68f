"""Tests for `zkservice.service.process.systemd`."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zkservice.service.process.systemd import Notifier


class NotifierTests(SynchronousTestCase):
    """What systemd's socket receives."""

    def setUp(self) -> None:
        """A socket in systemd's place."""
        folder = tempfile.mkdtemp()  # short: a socket's path has a limit
        self.addCleanup(shutil.rmtree, folder)
        self.address = os.path.join(folder, "notify")
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.systemd.close)
        self.systemd.bind(self.address)
        self.systemd.setblocking(False)
        self.clock = Clock()

    def received(self) -> list[str]:
        """All that has come."""
        messages = []
        while True:
            try:
                messages.append(self.systemd.recv(1000).decode())
            except BlockingIOError:
                return messages

    def test_readiness_watchdog_and_stop_are_sent(self) -> None:
        """Ready, fed twice in a period, stopping."""
        environ = {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": "2000000"}
        notifier = Notifier(environ, self.clock)
        notifier.ready("serving")
        self.assertEqual(self.received(), ["READY=1\nSTATUS=serving", "WATCHDOG=1"])
        self.clock.pump([0.9, 0.1, 1.0])
        self.assertEqual(self.received(), ["WATCHDOG=1"] * 2)
        notifier.stopping()
        notifier.stop()
        self.assertEqual(self.received(), ["STOPPING=1"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_only_the_main_process_speaks(self) -> None:
        """Neither a program that has handed over nor one that has not taken over is heard."""
        environ = {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": "2000000"}
        notifier = Notifier(environ, self.clock)
        notifier.enabled = False
        notifier.ready("serving")
        self.assertEqual((self.received(), self.clock.getDelayedCalls()), ([], []))
        notifier.enabled = True
        notifier.ready("serving")
        self.assertEqual(self.received(), ["READY=1\nSTATUS=serving", "WATCHDOG=1"])
        notifier.enabled = False
        self.clock.advance(1)
        notifier.stopping()
        notifier.stop()
        self.assertEqual(self.received(), [])

    def test_a_reload_has_its_time(self) -> None:
        """With the time that newer versions ask for."""
        Notifier({"NOTIFY_SOCKET": self.address}, self.clock).reloading(17)
        self.assertEqual(
            self.received(), ["RELOADING=1\nMONOTONIC_USEC=17\nSTATUS=Starting a new program"]
        )

    def test_without_systemd_nothing_is_sent(self) -> None:
        """Nothing is sent and nothing is scheduled."""
        notifier = Notifier({"WATCHDOG_USEC": "1000"}, self.clock)
        notifier.ready("serving")
        notifier.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_abstract_socket_is_notified(self) -> None:
        """An address that begins with @ is in the abstract name space."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind("")  # the kernel picks an abstract name
            name = systemd.getsockname()[1:].decode()
            Notifier({"NOTIFY_SOCKET": "@" + name}, self.clock).stopping()
            systemd.setblocking(False)
            self.assertEqual(systemd.recv(100), b"STOPPING=1")

    def test_a_missing_socket_is_ignored(self) -> None:
        """A socket that is not there does no harm."""
        Notifier({"NOTIFY_SOCKET": self.address + "x"}, self.clock).stopping()
        self.assertEqual(self.received(), [])
