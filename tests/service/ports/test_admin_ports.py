"""Tests for `zkservice.service.ports.admin_ports`: which users may log in to a manhole."""

from __future__ import annotations

import os
import pwd
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import ConfigurationError
from zkservice.service.config import Manhole
from zkservice.service.options.serve_options import Options
from zkservice.service.ports.admin_ports import AdminPorts, process_user


class ProcessUserTests(SynchronousTestCase):
    """The name to log in with."""

    def test_not_of_the_environment(self) -> None:
        """It is that of the user that the process runs as, whoever has started it."""
        self.patch(os, "environ", os.environ | {"LOGNAME": "somebody", "USER": "somebody"})
        self.assertEqual(process_user(), pwd.getpwuid(os.geteuid()).pw_name)

    def test_user_without_a_name(self) -> None:
        """A user that this machine has no name for, as in a container, has a number."""

        def unknown(number: int) -> Any:
            raise KeyError(number)

        self.patch(pwd, "getpwuid", unknown)
        self.assertEqual(process_user(), str(os.geteuid()))


class ManholeTests(SynchronousTestCase):
    """What is said when a manhole opens, or cannot."""

    def opened(self, manhole: Manhole) -> str:
        """What the log says of it."""
        reactor: Any = MemoryReactorClock()
        with capturedLogs() as seen:
            AdminPorts(reactor).open_manhole(manhole, {})
        return formatEvent(seen[-1]) or ""

    def test_the_log_names_the_tokens_file_only(self) -> None:
        """At a port the log names the file of the token, and never the token."""
        path = self.mktemp()
        said = self.opened(Manhole(":0", token_file=path))
        self.assertTrue(said.endswith(f", telnet, with the token in {path}"), said)
        with open(path) as file:
            self.assertNotIn(file.read().strip(), said)

    def test_a_blank_token_is_refused(self) -> None:
        """A token that is easy to guess is reported in one line that names its file."""
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("\n")
        error = self.assertRaises(ConfigurationError, self.opened, Manhole(":0", token_file=path))
        self.assertIn(f"{path}: its first line must be the token", str(error))


class TelnetByNameTests(SynchronousTestCase):
    """Telnet at a port has to be asked for by name."""

    def config(self, *words: str) -> Manhole | None:
        """What a command line means."""
        options = Options()
        options.parseOptions(["--path", "/p", *words, "app:app"])
        return options.config.manhole

    def test_a_port_is_for_ssh_unless_telnet_is_named(self) -> None:
        """Without it the error names all that can be done instead."""
        error = self.assertRaises(UsageError, self.config, "--manhole", ":9002")
        for word in ("--manhole-keys FILE", "--manhole-telnet", "a socket's path", "clear text"):
            self.assertIn(word, str(error))
        for words in (
            ("--manhole", ":9002", "--manhole-telnet"),
            ("--manhole", ":9002", "--manhole-keys", "keys"),
            ("--manhole", "/run/app/manhole"),
        ):
            self.assertIsNotNone(self.config(*words))

    def test_telnet_without_a_manhole(self) -> None:
        """It opens nothing by itself."""
        error = self.assertRaises(UsageError, self.config, "--manhole-telnet")
        self.assertEqual(str(error), "--manhole-telnet needs --manhole")
