"""Tests of ``zkservice.service.service_state``."""

from __future__ import annotations

import socket
import sys
from typing import Any
from unittest import skipUnless
from unittest.mock import Mock

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zkservice.registry import Change, RegistrationState
from zkservice.service.service_state import StateTimes, listen_queues
from zkservice.service.state.figures import ListenQueue
from zkservice.wire.session import State


class ListenQueueTests(SynchronousTestCase):
    """What the kernel tells of a port."""

    @skipUnless(sys.platform == "linux", "only Linux tells")
    def test_connections_that_wait_are_counted(self) -> None:
        """Three clients wait where seven may."""
        with socket.create_server(("127.0.0.1", 0), backlog=7) as listening:
            host, number = listening.getsockname()
            clients = [socket.create_connection((host, number)) for _ in range(3)]
            port: Any = Mock(socket=listening)
            port.getHost.return_value = IPv4Address("TCP", host, number)
            found = list(listen_queues([port]))
            for client in clients:
                client.close()
        self.assertEqual(found, [ListenQueue(f"127.0.0.1:{number}", 3, 7)])
        self.assertEqual(list(listen_queues([port])), [], "a port that is closed")

    def test_other_sockets_are_left_out(self) -> None:
        """A Unix socket has no such figures."""
        with socket.socket(socket.AF_UNIX) as listening:
            port: Any = Mock(socket=listening)
            self.assertEqual(list(listen_queues([port])), [])


class StateTimesTests(SynchronousTestCase):
    """When a state began."""

    def test_changes_are_noted(self) -> None:
        """Each of the two has its own time."""
        clock = Clock()
        times = StateTimes(clock)
        announcement: Any = Mock()
        times.follow(announcement)
        [registration] = announcement.registrar.registration.subscribe.call_args.args
        [session] = announcement.registrar.client.subscribe.call_args.args
        clock.advance(10)
        registration(Change(RegistrationState.REGISTERED, ""))
        clock.advance(10)
        session(State.SUSPENDED)
        self.assertEqual((times.registration, times.session), (10, 20))
