"""Tests for `zkservice.service.paste`."""

from __future__ import annotations

import io
import sys

from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import ConfigurationError, StartError
from zkservice.service import paste
from zkservice.service.config import Config, ListenAddress, ZooKeeperTarget
from zkservice.service.paste import config_of, server_runner
from zkservice.service.process.exit import ExitCode
from zkservice.service.process.loggers import configure_loggers
from zkservice.web import Limits


class KeysTests(SynchronousTestCase):
    """What the keys of ``[server:main]`` mean."""

    def test_defaults_are_zc_zkzopeservers(self) -> None:
        """zc.zkzopeserver's: all addresses, a port of the system's, one thread."""
        self.assertEqual(
            config_of({"zookeeper": "h:1", "path": "/svc"}),
            Config(
                application="",
                path="/svc",
                zookeeper=ZooKeeperTarget("h:1"),
                listen=(ListenAddress("tcp:0", ""),),
                threads=1,
                session_timeout=10.0,
                log_format="logging",
            ),
        )

    def test_every_key_is_accepted(self) -> None:
        """Every key, and a limit of the front end."""
        config = config_of(
            {
                "zookeeper": "embedded",
                "path": "/svc",
                "host": "127.0.0.1",
                "port": "80",
                "session_timeout": "4000",
                "threads": "3",
                "monitor_server": ":9",
                "keep_alive": "2000",
                "status_views": "true",
                "property": "a=1\nb:=2",
                "drain_wait": "0",
            }
        )
        self.assertEqual(config.zookeeper, ZooKeeperTarget(None))
        self.assertEqual(config.listen, (ListenAddress("tcp:80:interface=127.0.0.1", "127.0.0.1"),))
        self.assertEqual((config.session_timeout, config.threads, config.monitor), (4.0, 3, ":9"))
        self.assertEqual(config.front_end.limits, Limits(keep_alive=2.0))
        self.assertTrue(config.front_end.status_views)
        self.assertEqual((config.properties, config.drain_wait), ({"a": "1", "b": 2}, 0))

    def test_the_name_is_ignored(self) -> None:
        """zc.zkzopeserver's name for the Server field is taken, and changes nothing."""
        keys = {"zookeeper": "h:1", "path": "/svc"}
        self.assertEqual(config_of({**keys, "name": "zope"}), config_of(keys))

    def test_invalid_values_are_named(self) -> None:
        """What is wrong is named."""
        good = {"zookeeper": "h:1", "path": "/svc"}
        for change, expected in (
            ({"path": ""}, "'path' is missing"),
            ({"zookeper": "h"}, "unknown key zookeper"),
            ({"port": "x"}, "port must be a whole number, not 'x'"),
            ({"port": "65536"}, "port must be at most 65535, not 65536"),
            ({"port": "-1"}, "port must be at least 0, not -1"),
            ({"zookeeper": "h:x"}, "zookeeper: the port of 'h:x'"),
            ({"zookeeper": "embedded:"}, "zookeeper embedded: needs a directory"),
            ({"path": "svc"}, "path: 'svc' is not a valid znode path"),
            ({"monitor_server": "x"}, "monitor_server: 'x' is not an address"),
            ({"head_bytes": "-1"}, "head_bytes must be at least 0, not -1"),
            ({"metrics": "maybe"}, "metrics must be true or false, not 'maybe'"),
        ):
            with self.assertRaises(ConfigurationError) as caught:
                config_of({**good, **change})
            self.assertIn(expected, str(caught.exception))

    def test_a_mistake_is_one_line_and_exit_code_1(self) -> None:
        """A user sees one line, and the process ends with code 1."""
        exit_code = ExitCode(register=lambda end: None)
        self.patch(paste, "ExitCode", lambda: exit_code)
        said = io.StringIO()
        self.patch(sys, "stderr", said)
        with self.assertRaises(StartError):
            server_runner(None, {}, zookeeper="h:1")
        self.assertEqual(said.getvalue(), "zkservice: the key 'path' is missing\n")
        self.assertEqual(exit_code.code, 1)

    def test_an_asgi_application_is_refused_before_the_start(self) -> None:
        """An application that cannot be served is refused before anything starts."""

        async def application(scope: object, receive: object, send: object) -> None:
            pass

        said = io.StringIO()
        self.patch(paste, "ExitCode", lambda: ExitCode(register=lambda end: None))
        self.patch(sys, "stderr", said)
        with self.assertRaises(StartError):
            server_runner(application, {}, zookeeper="embedded", path="/svc")
        self.assertIn("of the Paste configuration is an ASGI application", said.getvalue())

    def test_invalid_loggers_are_refused(self) -> None:
        """What is neither a level nor ZConfig text is refused."""
        for text, expected in (
            ("LOUD", "'LOUD' is invalid: expected a level such as INFO, a file, or a ZConfig text"),
            ("/no/file.conf", "'/no/file.conf' is invalid: expected a level"),
            ("very loud", "'very loud' is invalid"),
            ("<logger>\nnonsense\n", "loggers: "),
            ("<logger", "loggers: malformed"),
        ):
            with self.assertRaises(ConfigurationError) as caught:
                configure_loggers(text)
            self.assertIn(expected, str(caught.exception))
