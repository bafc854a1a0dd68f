"""Tests for `zkservice.cli.parser`."""

from __future__ import annotations

import io
import re
import sys

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.cli.context import Exit
from zkservice.cli.options import AskOptions, ImportOptions
from zkservice.cli.parser import make_command_line, parse_arguments


class UsageTests(SynchronousTestCase):
    """Words that make no command."""

    @override
    def setUp(self) -> None:
        self.said = io.StringIO()
        self.patch(sys, "stderr", self.said)

    def refused(self, *words: str) -> str:
        """What is said of them."""
        with self.assertRaises(SystemExit) as caught:
            parse_arguments(words)
        self.assertEqual(caught.exception.code, Exit.USAGE)
        return self.said.getvalue()

    def test_no_command_shows_help(self) -> None:
        """Without a word, the help is shown."""
        shown = self.refused()
        self.assertIn("COMMAND", shown)
        self.assertIn("write a tree as text", shown)

    def test_help_is_a_command(self) -> None:
        """``help`` is what newcomers type first; it explains all commands, or one."""
        for words, expected in ((("help",), "zkservice COMMAND --help"), (("help", "rm"), "--yes")):
            shown = io.StringIO()
            self.patch(sys, "stdout", shown)
            with self.assertRaises(SystemExit) as caught:
                parse_arguments(words)
            self.assertEqual(caught.exception.code, Exit.DONE)
            self.assertIn(expected, shown.getvalue())
        self.assertIn("invalid choice: 'nothing'", self.refused("help", "nothing"))

    def test_times_must_be_positive(self) -> None:
        """A time is a number of seconds above zero, or milliseconds."""
        for word in ("-1", "0", "nan", "inf", "soon"):
            said = self.refused("export", "h:1", f"--timeout={word}")
            self.assertIn(f"--timeout: must be seconds above zero, not {word!r}", said)
        for word in ("-1", "0", "1.5", "99999999999"):
            said = self.refused("export", "h:1", f"--session-timeout={word}")
            self.assertIn(
                f"--session-timeout: must be milliseconds, 1 to 2147483647, not {word!r}", said
            )

    def test_permissions_must_have_five_bits(self) -> None:
        """Permissions are a number of five bits."""
        for word in ("0", "32", "-1", "rw"):
            said = self.refused("import", "h:1", f"--permission={word}")
            self.assertIn("--permission: must be 1 to 31, the sum of", said)
            self.assertIn(repr(word), said)

    def test_only_what_is_missing_is_asked_for(self) -> None:
        """Only what is missing is asked for."""
        self.assertIn("the following arguments are required: ADDR\n", self.refused("ask"))

    def test_words_are_explained(self) -> None:
        """The help of each command says what each of its words is."""
        for name, parser in make_command_line().commands.items():
            lines = parser.format_help().splitlines()
            for line, following in zip(lines, [*lines[1:], ""], strict=True):
                if re.match("  [^ ]", line):
                    shown = line + following if following.startswith(" " * 10) else line
                    self.assertRegex(shown, r"\S {2,}\w", f"{name}: {line}")

    def test_an_option_that_is_not_given_has_its_default(self) -> None:
        """The defaults are those of the options' class, whatever else is given."""
        options = parse_arguments(["import", "h:1", "-q"]).options
        self.assertEqual(options, ImportOptions(hosts="h:1", quiet=True))
        self.assertEqual(parse_arguments(["ask", "/s"]).options, AskOptions(addr="/s"))
