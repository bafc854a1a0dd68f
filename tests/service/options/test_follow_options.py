"""Tests of what a command line of ``twistd zkfollow`` means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.service.options.follow_config import FollowConfig
from zkservice.service.options.follow_options import Options

HOSTS = ("--zookeeper", "127.0.0.1:2181")


class FollowOptionsTests(SynchronousTestCase):
    """Which service goes into which file, and which command runs after it."""

    @override
    def setUp(self) -> None:
        self.patch(os, "environ", {})

    def config(self, *words: str) -> FollowConfig:
        """What a command line means."""
        options = Options()
        options.parseOptions([*HOSTS, *words])
        return options.config

    def mistake(self, *words: str) -> str:
        """Why it is refused."""
        options = Options()
        with self.assertRaises(UsageError) as caught:
            options.parseOptions(list(words))
        return str(caught.exception)

    def groups(self, *words: str) -> list[tuple[str, list[tuple[str, tuple[str, ...]]]]]:
        """Each command, and the files and services that it is for."""
        return [
            (command, [(each.target, each.services) for each in outputs])
            for command, outputs in self.config(*words).groups
        ]

    def test_one_command_is_for_all_files(self) -> None:
        """A command runs after a change of any file."""
        self.assertEqual(
            self.groups("-p", "/svc/web", "-t", "nginx:/a", "-t", "json:/b", "-r", "reload"),
            [("reload", [("/a", ("web",)), ("/b", ("web",))])],
        )

    def test_several_commands_pair_with_the_files(self) -> None:
        """The first is for the first file, and so on; equal ones are one, a blank one is none."""
        words = ["-p", "/web", "-t", "nginx:/a", "-t", "json:/b", "-t", "haproxy:/c"]
        self.assertEqual(
            self.groups(*words, "-r", "x", "-r", "", "-r", "x"),
            [("x", [("/a", ("web",)), ("/c", ("web",))]), ("", [("/b", ("web",))])],
        )
        self.assertEqual(
            self.mistake(*HOSTS, *words, "-r", "x", "-r", "y"),
            "--run is given 2 times and --to 3 times: give one command for all, or one for each in "
            "the same order",
        )

    def test_several_services(self) -> None:
        """They share a file, or have one each."""
        words = ["-p", "/svc/web", "-p", "api=/svc/v2/web"]
        self.assertEqual(
            self.groups(*words, "-t", "json:/all", "-t", "nginx:/{service}.conf"),
            [("", [("/all", ("web", "api")), ("/web.conf", ("web",)), ("/api.conf", ("api",))])],
        )
        self.assertIn(
            "nginx:/a can have one service only", self.mistake(*HOSTS, *words, "-t", "nginx:/a")
        )
        self.assertIn(
            "two services are called 'web'",
            self.mistake(*HOSTS, "-p", "/a/web", "-p", "/b/web", "-t", "json:/all"),
        )

    def test_relative_files_are_made_absolute(self) -> None:
        """A daemon changes its directory."""
        [(_, [(target, _)])] = self.groups("-p", "/web", "-t", "json:all.json")
        self.assertEqual(target, os.path.abspath("all.json"))

    def test_templates_are_read_at_the_start(self) -> None:
        """A template that is missing or wrong is a mistake of the command line."""
        folder = Path(self.mktemp())
        folder.mkdir()
        good, bad = folder / "good", folder / "bad"
        good.write_text("$host\n")
        bad.write_text("$hots\n")
        (folder / "binary").write_bytes(b"\xff")
        config = self.config("-p", "/web", "-t", f"template:{good}:/out")
        self.assertEqual(config.groups[0][1][0].target, "/out")
        for name, expected in (
            ("bad", "'hots' is unknown"),
            ("none", "none cannot be read: No such file"),
            ("binary", "binary cannot be read: it is not UTF-8"),
        ):
            reason = self.mistake(*HOSTS, "-p", "/web", "-t", f"template:{folder / name}:/out")
            self.assertIn(expected, reason)

    def test_mistakes(self) -> None:
        """Each names the option and what to write."""
        web = ("--path", "/web")
        for words, expected in (
            ((*HOSTS, "-t", "json:/a"), "--path is missing"),
            ((*HOSTS, *web), "--to is missing"),
            ((*web, "-t", "json:/a"), "--zookeeper must name the servers"),
            (("-z", "embedded", *web, "-t", "json:/a"), "--zookeeper must name the servers"),
            ((*HOSTS, *web, "-t", "xml:/a"), "write FORMAT:TARGET; the formats are prometheus"),
            ((*HOSTS, *web, "-t", "json"), "write FORMAT:TARGET"),
            ((*HOSTS, *web, "-t", "template:/a"), "write template:FILE:TARGET"),
            ((*HOSTS, *web, "-t", "json:/a", "-t", "nginx:/a"), "/a is named more than once"),
            ((*HOSTS, "-p", "/a b", "-t", "json:/a"), "write NAME=PATH"),
            ((*HOSTS, "-p", "/", "-t", "json:/a"), "write NAME=PATH"),
            ((*HOSTS, "-p", "a=b", "-t", "json:/a"), "'b' is not a valid znode path"),
            ((*HOSTS, *web, "-t", "json:/a", "word"), "zkfollow takes options only, not 'word'"),
        ):
            self.assertIn(expected, self.mistake(*words))

    def test_scripts_stay_in_the_foreground(self) -> None:
        """With --once twistd neither daemonizes nor looks for another process's pid file."""
        for word in ("--once", "--dry-run"):
            options = Options()
            parent: Any = {"nodaemon": False, "pidfile": "twistd.pid"}
            options.parent = parent
            options.parseOptions([*HOSTS, "-p", "/web", "-t", "json:/a", word])
            self.assertEqual((parent["nodaemon"], parent["pidfile"]), (True, ""))
