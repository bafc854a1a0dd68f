"""Tests for `zkservice.service.options.check_config`."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.service.config import (
    Config,
    FrontEnd,
    HealthSettings,
    ListenAddress,
    Manhole,
    ZooKeeperTarget,
)
from zkservice.service.options.check_config import check_config, problems

APP = "def application(environ, start_response):\n    return []\n"


class CheckTests(SynchronousTestCase):
    """Problems that are found without a start."""

    @override
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)

    def config(self, app: str = APP) -> Config:
        """A configuration that is good if its application is."""
        (self.folder / "app.wsgi").write_text(app)
        return Config(
            application=str(self.folder / "app.wsgi"),
            path="/svc",
            zookeeper=ZooKeeperTarget("h:1"),
            listen=(ListenAddress.tcp("127.0.0.1", 80), ListenAddress("unix:/run/a")),
            properties={"version": [1]},
            monitor=":9001",
        )

    def test_a_good_configuration_is_explained(self) -> None:
        """Where it would listen, what it would register, and where."""
        self.assertEqual(check_config(self.config(), ["ZKSERVE_X is odd"]), 0)
        self.assertEqual(self.err.getvalue(), "zkserve: warning: ZKSERVE_X is odd\n")
        for line in (
            f"serve {self.folder}/app.wsgi",
            "listen at tcp:80:interface=127.0.0.1",
            "listen at unix:/run/a",
            "register 127.0.0.1:80",
            "  below /svc in ZooKeeper h:1",
            "  version: [1]",
            "monitor at :9001",
        ):
            self.assertIn(f"{line}\n", self.out.getvalue())

    def test_every_problem_is_printed(self) -> None:
        """All problems, not only the first one; and no plan is printed."""
        config = replace(
            self.config("import no_such_module\n"),
            front_end=FrontEnd(
                views=(("/v", "no_such_module.view"),),
                access_log=str(self.folder / "none" / "access.log"),
            ),
            monitor_commands=(("status", "os.getcwd"),),
            manhole=Manhole(":1", authorized_keys=str(self.folder / "no_keys")),
            properties={"bad": {1, 2}},
        )
        self.assertEqual(check_config(config), 1)
        self.assertEqual(self.out.getvalue(), "")
        lines = self.err.getvalue().splitlines()
        expected = ("app.wsgi", "/v", "status", "access.log", "no_keys", "bad")
        self.assertEqual(len(lines), len(expected), lines)
        for line, word in zip(lines, expected, strict=True):
            self.assertIn(word, line)
            self.assertTrue(line.startswith("zkserve: "))

    def test_a_health_check_needs_a_port(self) -> None:
        """One that speaks plain HTTP, as at the start."""
        config = replace(self.config(), health=HealthSettings(path="/"))
        self.assertEqual(list(problems(config)), [])
        config = replace(config, listen=(ListenAddress("ssl:443"),))
        (problem,) = problems(config)
        self.assertIn("the health check needs a port that speaks plain HTTP", problem)

    def test_a_unix_socket_has_no_address(self) -> None:
        """As at the start, another address must be named."""
        config = replace(self.config(), listen=(ListenAddress("unix:/run/a"),))
        (problem,) = problems(config)
        self.assertIn("no port has an address that others can connect to", problem)
        self.assertEqual(list(problems(replace(config, advertise=("web1:443",)))), [])

    def test_log_files_are_not_made(self) -> None:
        """A check leaves nothing behind."""
        log = self.folder / "access.log"
        config = replace(self.config(), front_end=FrontEnd(access_log=str(log)))
        self.assertEqual(list(problems(config)), [])
        self.assertEqual(os.listdir(self.folder), ["app.wsgi"])
