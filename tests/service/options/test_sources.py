"""Tests for `zkservice.service.options.sources`: options from the environment and from files."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.errors import ConfigurationError
from zkservice.service.config import Config
from zkservice.service.options.option_table import Values
from zkservice.service.options.serve_options import Options
from zkservice.service.options.serve_table import OPTIONS
from zkservice.service.options.sources import APPLICATION, read_environment, read_file

ALL = """
application = "m:app"
path = "/svc"
port = 8080
host = "127.0.0.1"
session-timeout = 4000
status-views = true
advertise = ["a:1", "b:2"]
head-timeout = 1000

[property]
version = 3
name = "x=y"
tags = ["a", {b = 1.5}]
on = true
"""


class SourcesCase(SynchronousTestCase):
    """A folder with a file, and an environment of the test's own."""

    @override
    def setUp(self) -> None:
        self.environ: dict[str, str] = {}
        self.patch(os, "environ", self.environ)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.file = folder / "zkserve.toml"

    def options(self, *words: str, file: str = "") -> Options:
        """What a command line means, with a file of this text."""
        options = Options()
        if file:
            self.file.write_text(file)
            words = ("--config", str(self.file), *words)
        options.parseOptions(words)
        return options

    def config(self, *words: str, file: str = "") -> Config:
        """What a command line means, with a file of this text."""
        return self.options(*words, file=file).config

    def refused(self, *words: str, file: str = "") -> str:
        """Why that is refused; the file is called FILE."""
        with self.assertRaises(UsageError) as caught:
            self.options("--path", "/p", *words, file=file)
        return str(caught.exception).replace(str(self.file), "FILE")


class FileTests(SourcesCase):
    """``--config``."""

    def test_a_file_is_enough(self) -> None:
        """The application and every option may stand in it, with values that have types."""
        config = self.config(file=ALL)
        self.assertEqual((config.application, config.path), ("m:app", "/svc"))
        self.assertEqual(config.listen[0].endpoint, "tcp:8080:interface=127.0.0.1")
        self.assertEqual(config.session_timeout, 4.0)
        self.assertTrue(config.front_end.status_views)
        self.assertEqual(config.advertise, ("a:1", "b:2"))
        self.assertEqual(config.front_end.limits.head_timeout, 1.0)
        self.assertEqual(
            config.properties,
            {"version": 3, "name": "x=y", "tags": ["a", {"b": 1.5}], "on": True},
        )

    def test_pairs_may_be_tables(self) -> None:
        """Views, limits and commands by name; or arrays of what a command line has."""
        for text in (
            'view = {"/a" = "b.c"}\nlimit = {head-bytes = 4096}\n',
            'view = ["/a=b.c"]\nlimit = "head-bytes=4096"\n',
        ):
            config = self.config("--path", "/p", "m:app", file=text)
            self.assertEqual(config.front_end.views, (("/a", "b.c"),))
            self.assertEqual(config.front_end.limits.head_bytes, 4096)

    def test_errors_name_the_key_and_the_file(self) -> None:
        """In one line, with what was expected."""
        for text, expected in {
            "port = 'x'": "port in FILE must be a whole number, not 'x'",
            "port = true": "port in FILE must be N, not a boolean",
            "port = [1, 2]": "port in FILE must be one value, not an array",
            "port = {a = 1}": "port in FILE must be a text, a number or a boolean, not a table",
            "port = 2020-01-01": "port in FILE must be a text, a number or a boolean, not a date",
            "threads = 0": "threads in FILE must be at least 1, not 0",
            "metrics = 'maybe'": "metrics in FILE must be true or false, not 'maybe'",
            "advertise = [[1]]": (
                "advertise in FILE must be a text, a number or a boolean, not an array"
            ),
            "limit = {head-byte = 1}": (
                "limit in FILE: unknown limit 'head-byte'; did you mean 'head-bytes'?"
            ),
            "limit = {x = 1}": "limit in FILE: unknown limit 'x'; the names are target-bytes, ",
            "limit = ['x']": "limit in FILE: 'x': write NAME=VALUE; the names are target-bytes, ",
            "limit = {head-bytes = 'x'}": (
                "limit in FILE: head-bytes must be a whole number, not 'x'"
            ),
            "property = {since = 2020-01-01}": (
                "property in FILE: since must be a value that JSON has, not 2020-01-01"
            ),
            "property = {a = nan}": "property in FILE: a must be a value that JSON has, not nan",
            'property = {"a=b" = 1}': "property in FILE: 'a=b' must be a name without '='",
            "listen = 'tcp:1'\nport = 1": "give either listen in FILE, or --host and port in FILE",
        }.items():
            self.assertIn(expected, self.refused("m:app", file=text), text)

    def test_an_unknown_key_is_named_with_the_nearest(self) -> None:
        """Underscores and letters that are wrong."""
        self.assertEqual(
            self.refused("m:app", file="session_timeout = 1"),
            "FILE: unknown key 'session_timeout'; did you mean 'session-timeout'?",
        )
        self.assertEqual(self.refused("m:app", file="zzz = 1"), "FILE: unknown key 'zzz'")
        self.assertIn("unknown key 'check-config'", self.refused(file="check-config = true"))

    def test_a_file_that_cannot_be_read_is_named(self) -> None:
        """Missing, not TOML, not UTF-8, or nested without end."""
        self.assertIn("No such file", self.refused("--config", "none.toml", "m:app"))
        self.assertIn("FILE is invalid TOML: ", self.refused("m:app", file="port = "))
        self.file.write_bytes(b"host = '\xff'")
        self.assertIn("is invalid TOML: ", self.refused("--config", str(self.file), "m:app"))
        self.assertIn("invalid TOML", self.refused("m:app", file=f"port = {'[' * 9999}"))

    def test_no_application_anywhere(self) -> None:
        """It may stand in the file, so its absence is seen late; the message is the same."""
        self.assertIn("APP is missing", self.refused(file="port = 1"))

    @given(st.binary(max_size=80))
    def test_nonsense_is_refused_in_a_line(self, data: bytes) -> None:
        """Whatever is in the file: options, or a `ConfigurationError`."""
        self.file.write_bytes(data)
        try:
            read_file(str(self.file), "FILE", OPTIONS, (APPLICATION,))
        except ConfigurationError as error:
            self.assertIn("FILE", str(error))

    @given(st.dictionaries(st.sampled_from(["a", "b c", "d:"]), st.text("a=:\"'é\n", max_size=9)))
    def test_properties_come_through(self, properties: dict[str, str]) -> None:
        """A text of a table is what is stored, whatever is in it."""
        text = "".join(f"{_quoted(k)} = {_quoted(v)}\n" for k, v in properties.items())
        self.file.write_text(f"[property]\n{text}")
        written = read_file(str(self.file), "FILE", OPTIONS)
        self.assertEqual(dict(Values(OPTIONS, written)["property"]), properties)


class EnvironmentTests(SourcesCase):
    """``ZKSERVE_*``."""

    def test_variables_are_options(self) -> None:
        """Flags are true or false; what is repeatable has a line each; blank is not given."""
        self.environ |= {
            "ZKSERVE_PATH": "/svc",
            "ZKSERVE_SESSION_TIMEOUT": "1500",
            "ZKSERVE_METRICS": "true",
            "ZKSERVE_PROPERTY": "a=1\n  b:=2\n\n",
            "ZKSERVE_HEAD_BYTES": "4096",
            "ZKSERVE_APPLICATION": "m:app",
            "ZKSERVE_PORT": "",
        }
        config = self.config()
        self.assertEqual((config.application, config.path), ("m:app", "/svc"))
        self.assertEqual(config.session_timeout, 1.5)
        self.assertTrue(config.front_end.metrics)
        self.assertEqual(config.properties, {"a": "1", "b": 2})
        self.assertEqual(config.front_end.limits.head_bytes, 4096)

    def test_errors_name_the_variable(self) -> None:
        """As it is written."""
        self.environ["ZKSERVE_PORT"] = "tcp://10.0.0.1:80"  # Kubernetes, for a service zkserve
        self.assertEqual(
            self.refused("m:app"), "ZKSERVE_PORT must be a whole number, not 'tcp://10.0.0.1:80'"
        )

    def test_unknown_variables_are_warned_of(self) -> None:
        """They need not be mistakes, so the service starts."""
        self.environ |= {"ZKSERVE_THREAD": "3", "ZKSERVE_SERVICE_HOST": "h", "ZKEMBEDDED_X": "1"}
        options = self.options("--path", "/p", "m:app")
        self.assertEqual(
            options.sources.warnings[1],
            "the environment variable ZKSERVE_THREAD is not an option; "
            "did you mean 'ZKSERVE_THREADS'?",
        )
        self.assertEqual(len(options.sources.warnings), 2)

    def test_a_check_is_no_variable(self) -> None:
        """A variable for --check-config would make a service that never serves."""
        found, warnings = read_environment(OPTIONS, {"ZKSERVE_CHECK_CONFIG": "1"}, "ZKSERVE_")
        self.assertEqual((found, len(warnings)), ({}, 1))


class PrecedenceTests(SourcesCase):
    """The command line, then the environment, then the file."""

    def test_the_nearest_wins(self) -> None:
        """Option by option, and the application, too."""
        self.environ |= {"ZKSERVE_PORT": "2", "ZKSERVE_THREADS": "22"}
        file = "port = 1\nthreads = 11\npath = '/file'\napplication = 'f:app'\n"
        config = self.config("--port", "3", "c:app", file=file)
        self.assertEqual(config.listen[0].endpoint, "tcp:3")
        self.assertEqual((config.threads, config.path), (22, "/file"))
        self.assertEqual(config.application, "c:app")

    def test_repeatable_options_count_as_a_whole(self) -> None:
        """Those of a command line do not add to those of the file."""
        file = "path = '/p'\nadvertise = ['a:1', 'b:2']\n"
        config = self.config("--advertise", "c:3", "m:app", file=file)
        self.assertEqual(config.advertise, ("c:3",))

    def test_limits_count_one_by_one(self) -> None:
        """However each is written."""
        self.environ["ZKSERVE_LIMIT"] = "head-bytes=2222\nhead-timeout=2000"
        file = "path = '/p'\nlimit = {head-bytes = 1111, head-fields = 11, head-timeout = 1}\n"
        limits = self.config("--head-timeout", "3000", "m:app", file=file).front_end.limits
        self.assertEqual((limits.head_bytes, limits.head_timeout), (2222, 3.0))
        self.assertEqual(limits.head_fields, 11)

    def test_the_file_may_be_named_by_a_variable(self) -> None:
        """ZKSERVE_CONFIG, for containers; --config wins."""
        self.file.write_text(ALL)
        self.environ["ZKSERVE_CONFIG"] = str(self.file)
        self.assertEqual(self.config().path, "/svc")
        self.environ["ZKSERVE_CONFIG"] = "none.toml"
        self.assertEqual(self.config(file=ALL).path, "/svc")


def _quoted(text: str) -> str:
    """A TOML string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
