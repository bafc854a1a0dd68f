"""Tests for `zkservice.service.options.twistd_options`: what a command line says to its user."""

from __future__ import annotations

import io
import os
import re
import sys

from twisted.python.usage import Options as BaseOptions
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.service import zkembedded, zkfollow, zkregister, zkserve
from zkservice.service.options.option_table import Option, OptionTable
from zkservice.service.options.twistd_options import TableOptions


class Daemon(BaseOptions):
    """In the place of twistd's own options."""

    subCommands = (  # noqa: N815 - as Twisted has it, RUF012 would like a list
        ("zkserve", None, zkserve.Options, "Serve."),
        ("zkembedded", None, zkembedded.Options, "Run a ZooKeeper."),
        ("zkregister", None, zkregister.Options, "Register a program."),
        ("zkfollow", None, zkfollow.Options, "Write files."),
    )


class MistakeTests(SynchronousTestCase):
    """A mistake costs a line or two."""

    def mistake(self, *words: str) -> tuple[str, str]:
        """What is shown, and the reason."""
        options = Daemon()
        with self.assertRaises(UsageError) as caught:
            options.parseOptions(words)
        return str(options), str(caught.exception)

    def test_a_mistake_fits_on_a_screen(self) -> None:
        """What twistd shows above the reason fits on any screen, and says where to read on."""
        for command in ("zkserve", "zkembedded", "zkregister", "zkfollow"):
            shown, _ = self.mistake(command, "--nonsense")
            self.assertLess(shown.count("\n"), 6)
            self.assertIn(f"{command} [options]", shown)
            self.assertIn(f"'twistd {command} --help'", shown)

    def test_an_invalid_number_names_its_option(self) -> None:
        """An invalid number is shown with its option."""
        for option in ("--port", "--threads", "--head-bytes", "--drain-wait"):
            _, reason = self.mistake("zkserve", "--path", "/p", option, "many", "m:app")
            self.assertEqual(reason, f"{option} must be a whole number, not 'many'")
        _, reason = self.mistake("zkembedded", "--tick-time", "2s")
        self.assertEqual(reason, "--tick-time must be a whole number, not '2s'")

    def test_a_missing_application_says_what_to_write(self) -> None:
        """Without an application the error says how to name one."""
        _, reason = self.mistake("zkserve", "--path", "/p")
        self.assertIn("APP is missing", reason)
        self.assertIn("module:callable", reason)

    def test_options_behind_the_application(self) -> None:
        """For an option behind the application the error says where it belongs."""
        _, reason = self.mistake("zkserve", "--path", "/p", "m:app", "--port", "80")
        self.assertEqual(reason, "options go before the application: --port")

    def test_two_applications_are_refused(self) -> None:
        """A process serves one application."""
        _, reason = self.mistake("zkserve", "--path", "/p", "m:app", "m:other")
        self.assertEqual(reason, "expected one application, got 2: m:app m:other")

    def test_words_for_zkembedded(self) -> None:
        """A word that zkembedded does not take is named."""
        _, reason = self.mistake("zkembedded", "tcp:2181")
        self.assertEqual(reason, "zkembedded takes options only, not 'tcp:2181'")


class HelpTests(SynchronousTestCase):
    """What --help and --version show."""

    @override
    def setUp(self) -> None:
        self.patch(sys, "stdout", io.StringIO())
        self.patch(os, "environ", {**os.environ, "COLUMNS": "80"})
        self.patch(sys, "argv", ["twistd"])  # else it is what runs the tests

    def shown(self, *words: str) -> str:
        """What is printed."""
        with self.assertRaises(SystemExit) as caught:
            Daemon().parseOptions(words)
        self.assertEqual(caught.exception.code, 0)
        output = sys.stdout
        assert isinstance(output, io.StringIO)
        return output.getvalue()

    def test_every_option_is_shown_once(self) -> None:
        """Each option is shown once, with what it does, on lines that fit."""
        for command, options in (
            ("zkserve", zkserve.Options()),
            ("zkembedded", zkembedded.Options()),
            ("zkregister", zkregister.Options()),
            ("zkfollow", zkfollow.Options()),
        ):
            lines = self.shown(command, "--help").splitlines()
            self.assertLessEqual(max(map(len, lines)), 80)
            shown = [row.name for row in options.table if not row.hidden]
            for name in (*shown, "help", "version"):
                option = re.compile(rf"^  (-\w,|   ) --{name}(=|$| )")
                found = [line for line in lines if option.match(line)]
                self.assertEqual(len(found), 1, name)
                self.assertRegex(found[0], f"--{name}=? +[^ ]")
            sys.stdout.seek(0)
            sys.stdout.truncate()

    def test_options_stand_under_their_topic(self) -> None:
        """Options stand under their topic, in the order of the topics."""
        page = self.shown("zkserve", "--help")
        places = [page.index(f"\n{title}:\n") for title in zkserve.Options.table.sections()]
        self.assertEqual(places, sorted(places))
        health = page.partition("\nHealth:\n")[2].partition("\n\n")[0]
        self.assertIn("--health-fall=", health)
        self.assertNotIn("--monitor", health)

    def test_the_synopsis_comes_first(self) -> None:
        """It begins with how the command is called, and what it does."""
        page = self.shown("zkserve", "--help")
        self.assertIn("zkserve [options] --path PATH APP\n\nServe a WSGI application", page)

    def test_defaults_are_shown(self) -> None:
        """Defaults are shown where there are some."""
        page = " ".join(self.shown("zkserve", "--help").split())
        self.assertIn("Worker threads for the application. [default: 4]", page)
        self.assertNotIn("[default: ]", page)
        self.assertNotIn("[default: None]", page)

    def test_the_version_is_ours_then_twisteds(self) -> None:
        """The version is ours, and then Twisted's."""
        self.assertRegex(self.shown("zkserve", "--version"), r"^zkservice \S+, Twisted [0-9.]+\n$")

    def test_limits_are_listed_below_their_option(self) -> None:
        """Each limit is named with its default, and none is an option of its own."""
        page = self.shown("zkserve", "--help")
        limits = page.partition("\nLimits:\n")[2].partition("\n\n")[0]
        self.assertRegex(limits, r"--limit= +NAME=VALUE")
        self.assertRegex(limits, r"\n      head-bytes +Largest request head")
        self.assertNotIn("--head-bytes", page)

    def test_a_row_is_all_that_an_option_needs(self) -> None:
        """A table of one row is a command with one option."""

        class Small(TableOptions):
            longdesc = "Does little."
            synopsis = "[options]"
            table = OptionTable((Option("colour", "Looks", "Paint it.", default="red"),))

        options = Small()
        options.parseOptions(["--colour", "blue"])
        self.assertEqual(options.values_read["colour"], "blue")
        self.assertIn("Does little.\n\nLooks:\n      --colour=", str(Small()))
        self.assertIn("Paint it. [default: red]", str(Small()))
