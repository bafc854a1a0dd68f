"""Tests of the options of ``twistd zkregister``, and of what they mean."""

from __future__ import annotations

import os
import signal
import sys

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import ConfigurationError
from zkservice.service.config import HealthSettings, ZooKeeperTarget
from zkservice.service.options.register_config import (
    HealthURL,
    KnownAddresses,
    RegisterConfig,
    read_health_url,
)
from zkservice.service.options.register_options import Options
from zkservice.service.process.command_process import exit_code

NEEDED = ("--path", "/svc/web", "--address", "10.0.0.1:80")


def parsed(*words: str) -> RegisterConfig:
    """What a command line means."""
    options = Options()
    options.parseOptions([*NEEDED, *words])
    return options.config


class OptionsTests(SynchronousTestCase):
    """The command line."""

    def refused(self, *words: str) -> str:
        """The reason."""
        with self.assertRaises(UsageError) as caught:
            Options().parseOptions(words)
        return str(caught.exception)

    def test_command_is_left_as_it_is(self) -> None:
        """What follows -- is the command, whatever it looks like; the -- may be left out."""
        command = (sys.executable, "--path", "/x", "--", "-z")
        self.assertEqual(parsed("--", *command).command, command)
        self.assertEqual(parsed(*command).command, command)
        self.assertEqual(parsed().command, ())

    def test_command_must_exist(self) -> None:
        """A command that is not there, or cannot be executed, is refused at once."""
        for name in ("no-such-program", __file__):
            self.assertEqual(
                self.refused(*NEEDED, "--", name),
                f"the command {name!r} is not found or not executable",
            )

    def test_path_and_address_are_needed(self) -> None:
        """What is missing is named."""
        self.assertIn("--path is missing", self.refused("--address", "h:1"))
        self.assertIn("--address is missing", self.refused("--path", "/svc"))
        self.assertIn("'h:0': name a host and a port", self.refused("-p", "/svc", "-a", "h:0"))

    def test_registration(self) -> None:
        """What is registered is as zkserve has it, and never replaces another's znode."""
        words = ("--zookeeper", "z:1", "--property", "a=b", "--format", "nerve", "-a", "h:2")
        config = parsed(*words, "--drain-wait", "250", "--stop-timeout", "1500")
        registration = config.registration
        self.assertEqual(registration.path, "/svc/web")
        self.assertEqual(registration.advertise, ("10.0.0.1:80", "h:2"))
        self.assertEqual(registration.zookeeper, ZooKeeperTarget("z:1"))
        self.assertEqual((registration.properties, registration.format), ({"a": "b"}, "nerve"))
        self.assertEqual((registration.drain_wait, config.stop_timeout), (0.25, 1.5))
        self.assertIsNone(registration.health)
        self.assertIsNone(config.stop_signal)
        self.assertIs(parsed("--stop-signal", "QUIT").stop_signal, signal.SIGQUIT)
        self.assertIn(
            "--stop-signal must be TERM, INT", self.refused(*NEEDED, "--stop-signal", "9")
        )
        self.assertEqual(config.known.tls_addresses, frozenset())
        self.assertEqual(parsed("--tls").known.tls_addresses, {"10.0.0.1:80"})

    def test_health_by_http(self) -> None:
        """The URL is asked with its own Host, wherever the address is."""
        config = parsed("--health-http", "http://[::1]:8080/ok?x=1", "--health-interval", "500")
        self.assertEqual(
            config.registration.health,
            HealthSettings(path="/ok?x=1", host="[::1]:8080", interval=0.5),
        )
        self.assertEqual(config.known.client_endpoint(plain=True), r"tcp:\:\:1:8080")

    def test_health_by_tcp(self) -> None:
        """The first address is connected to."""
        config = parsed("--health-tcp", "--health-fall", "1")
        self.assertEqual(config.registration.health, HealthSettings(path=None, fall=1))
        self.assertEqual(config.known.client_endpoint(plain=False), "tcp:10.0.0.1:80")

    def test_two_health_checks_are_refused(self) -> None:
        """There is one kind of check."""
        reason = self.refused(*NEEDED, "--health-tcp", "--health-http", "http://h/")
        self.assertEqual(reason, "give either --health-http or --health-tcp")

    def test_environment(self) -> None:
        """Options may stand in variables, too."""
        self.patch(os, "environ", {**os.environ, "ZKREGISTER_FORMAT": "curator"})
        self.assertEqual(parsed().registration.format, "curator")


class HealthURLTests(SynchronousTestCase):
    """What --health-http takes."""

    def test_parts(self) -> None:
        """The port and the path may be left out."""
        self.assertEqual(read_health_url("http://h"), HealthURL("h", 80, "/"))
        self.assertEqual(read_health_url("http://h:1/a%20b"), HealthURL("h", 1, "/a%20b"))

    def test_others_are_refused(self) -> None:
        """With what is expected."""
        for text in ("/ok", "h:80", "http://", "http://u@h/", "http://h/a b", "http://h:0/"):
            with self.assertRaisesRegex(ConfigurationError, r"must be http://HOST\[:PORT\]"):
                read_health_url(text)
        with self.assertRaisesRegex(ConfigurationError, "--health-tcp"):
            read_health_url("https://h/")

    @given(st.text(max_size=30).map("http://{}".format) | st.text(max_size=30))
    def test_nothing_else_escapes(self, text: str) -> None:
        """Any text is a URL whose path fits into a request line, or is refused."""
        try:
            url = read_health_url(text)
        except ConfigurationError:
            return
        self.assertTrue(url.path.startswith("/"))
        self.assertTrue(url.path.isprintable() and url.path.isascii() and " " not in url.path)
        self.assertTrue(0 < url.port < 65536)
        self.assertTrue(KnownAddresses(("h:1",), health=url).client_endpoint(plain=True))


class ExitCodeTests(SynchronousTestCase):
    """What the end of a process is as an exit code."""

    def test_codes(self) -> None:
        """Its own, or 128 and the signal, as in shells."""
        for ended, code in (
            (ProcessDone(0), 0),
            (ProcessTerminated(3, None, 768), 3),
            (ProcessTerminated(None, 9, 9), 137),
        ):
            self.assertEqual(exit_code(Failure(ended)), code)
