"""Tests for commands of the monitor that a user adds."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from tests.service import commands as given
from zkservice.errors import ConfigurationError
from zkservice.service.commands import command_pair, with_added
from zkservice.service.config import Config
from zkservice.service.options import Options
from zkservice.service.paste import config_of

HERE = "tests.service.commands"


def known(words: list[str]) -> str:
    """A command that is there already."""
    return "known"


class WithAddedTests(SynchronousTestCase):
    """From dotted names to functions."""

    def added(self, *pairs: tuple[str, str]) -> dict[str, object]:
        """The commands with these."""
        return dict(with_added({"known": known}, pairs))

    def test_added(self) -> None:
        """They are beside the known ones, in their order."""
        found = self.added(("hi", f"{HERE}.hello"), ("later", f"{HERE}.later"))
        self.assertEqual(found, {"known": known, "hi": given.hello, "later": given.later})
        self.assertEqual(list(found), ["known", "hi", "later"])

    def test_mistakes(self) -> None:
        """Each is told in a line that names the command."""
        for name, dotted, problem in (
            ("known", f"{HERE}.hello", "the monitor has a command known already"),
            ("help", f"{HERE}.hello", "the monitor has a command help already"),
            ("x", f"{HERE}.nothing", "command x, tests.service.commands.nothing, cannot be loaded"),
            ("x", "no_such_module.f", "command x, no_such_module.f, cannot be loaded"),
            ("x", f"{HERE}.TEXT", "command x, tests.service.commands.TEXT, is no callable"),
            ("x", f"{HERE}.wordless", "wordless, does not take one argument, a list of words"),
        ):
            error = self.assertRaises(ConfigurationError, self.added, (name, dotted))
            self.assertIn(problem, str(error))
            self.assertNotIn("\n", str(error))

    def test_repeated(self) -> None:
        """A name can be given once."""
        pair = ("hi", f"{HERE}.hello")
        self.assertRaises(ConfigurationError, self.added, pair, pair)

    def test_called(self) -> None:
        """They are called with the words, and may take their time."""
        found = with_added({}, [("hi", f"{HERE}.hello"), ("later", f"{HERE}.later")])
        self.assertEqual(found["hi"](["Jim"]), "Hi Jim")
        answer = found["later"]([])
        assert isinstance(answer, Deferred)
        self.assertEqual(self.successResultOf(answer), "later")


class WrittenTests(SynchronousTestCase):
    """As users write them."""

    def options(self, *words: str) -> Config:
        """What a command line means."""
        options = Options()
        options.parseOptions(["--path", "/p", *words, "app:app"])
        return options.config

    def test_option(self) -> None:
        """One for each; without a monitor they make no sense."""
        words = ["--monitor-command", "a=x.a", "--monitor-command=b=y.b"]
        config = self.options("--monitor", "127.0.0.1:0", *words)
        self.assertEqual(config.monitor_commands, (("a", "x.a"), ("b", "y.b")))
        error = self.assertRaises(UsageError, self.options, *words)
        self.assertEqual(str(error), "--monitor-command needs --monitor")
        error = self.assertRaises(UsageError, self.options, "--monitor-command", "a")
        self.assertEqual(
            str(error),
            "--monitor-command: 'a' is no command for the monitor: write NAME=DOTTED.NAME",
        )

    def test_paste(self) -> None:
        """All in one key, with blanks or line ends in between."""
        keys = {"zookeeper": "zk:2181", "path": "/p", "monitor_server": "127.0.0.1:0"}
        self.assertEqual(config_of(keys).monitor_commands, ())
        keys["monitor_commands"] = "a=x.a\n  b=y.b"
        self.assertEqual(config_of(keys).monitor_commands, (("a", "x.a"), ("b", "y.b")))
        keys["monitor_commands"] = "a = x.a"
        error = self.assertRaises(ConfigurationError, config_of, keys)
        self.assertIn("monitor_commands: 'a' is no command for the monitor", str(error))

    def test_pairs(self) -> None:
        """Both halves have to be there, and the name is one word."""
        self.assertEqual(command_pair("a=b.c"), ("a", "b.c"))
        for text in ("", "a", "=b", "a=", "a b=c", " a=b"):
            self.assertRaises(ConfigurationError, command_pair, text)
