"""Tests for commands of the monitor that a user adds."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor  # noqa: TID251 - trial's
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase, TestCase
from typing_extensions import override

from tests.service import example_commands as given
from zkservice.client import ZooKeeperClient
from zkservice.errors import ConfigurationError
from zkservice.registry import RegistrationState, register
from zkservice.service.availability import CONFIRM, HEALTH, Availability
from zkservice.service.config import Config
from zkservice.service.monitor_commands import command_pair, commands, with_added
from zkservice.service.options import Options
from zkservice.service.paste import config_of
from zkservice.testing import EmbeddedZooKeeper

HERE = "tests.service.example_commands"


def known(words: list[str]) -> str:
    """A command that is there already."""
    return "known"


class OutAndInTests(TestCase):
    """What an operator's commands reply, and when."""

    timeout = 10

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        self.server = EmbeddedZooKeeper(tick_time=0.2)
        await self.server.start()
        self.addCleanup(self.server.stop)
        self.client = ZooKeeperClient(self.server.connection_string, 4.0)
        self.addCleanup(self.client.close)
        await self.client.connect(5.0)
        self.registration = register(self.client, "/svc", "h:1", {"color": "blue"})
        await self.registration.when_registered()
        self.clock, self.availability = Clock(), Availability()
        self.availability.attach(self.registration)
        self.commands = commands(lambda: [self.registration], dict, self.availability, self.clock)

    async def say(self, line: str) -> str:
        """What the monitor replies."""
        name, *words = line.split()
        answer = self.commands[name](words)
        return await answer if isinstance(answer, Deferred) else answer

    def exists(self) -> bool:
        """Whether the znode is on the server now."""
        return "/svc/h:1" in self.server.tree()

    async def until_out(self) -> None:
        """Wait until the registration is taken out."""
        while self.registration.state is not RegistrationState.OUT:
            await deferLater(reactor, 0.01)

    async def test_out_replies_when_the_znode_is_gone(self) -> None:
        """Whoever reads the reply can rely on it: ``servers`` is empty, too."""
        self.assertEqual(await self.say("servers /svc"), "h:1")
        self.assertEqual(await self.say("out new disk"), "out: new disk")
        self.assertFalse(self.exists())
        self.assertEqual(await self.say("servers /svc"), "")
        self.assertEqual(json.loads(await self.say("servers")), [])
        self.assertEqual(await self.say("out other disk"), "out: other disk")

    async def test_in_replies_when_the_znode_is_there(self) -> None:
        """The same for the way back, also where it was never out."""
        self.assertEqual(await self.say("in"), "in")
        await self.say("out")
        self.assertEqual(await self.say("in"), "in")
        self.assertTrue(self.exists())
        self.assertEqual(await self.say("servers /svc/"), "h:1")
        self.assertEqual(json.loads(await self.say("servers"))[0]["color"], "blue")

    async def test_servers_below_a_path_with_blanks(self) -> None:
        """A path may have blanks, which a command's line has between words."""
        other = register(self.client, "/our  own svc", "h:2", {})
        await other.when_registered()
        self.commands = commands(lambda: [other], dict, self.availability, self.clock)
        self.assertEqual(await self.say("servers /our  own svc"), "h:2")
        self.assertEqual(await self.say("servers /our"), "")

    async def test_in_names_other_reasons_at_once(self) -> None:
        """What the operator cannot lift is not waited for."""
        self.availability.block(HEALTH, "health: status 503")
        await self.until_out()
        await self.say("out")
        self.assertEqual(await self.say("in"), "in; but health: status 503")

    async def test_no_confirmation_is_an_error(self) -> None:
        """If ZooKeeper does not answer in time, the reply says so, and out stays in force."""
        self.server.pause()
        answer: Any = self.commands["out"](["disk"])
        self.clock.advance(CONFIRM)
        self.assertEqual(
            await answer, "error: out is noted, but not confirmed within 5 s: registered"
        )
        self.server.resume()
        await self.until_out()
        self.assertFalse(self.exists())

    async def test_lost_connection_ends_the_wait(self) -> None:
        """A monitor whose user has left cancels the command; nothing is left of it."""
        self.server.pause()
        answer: Any = self.commands["out"]([])
        answer.cancel()
        self.failureResultOf(answer)
        self.server.resume()
        await self.until_out()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class WithAddedTests(SynchronousTestCase):
    """From dotted names to functions."""

    def added(self, *pairs: tuple[str, str]) -> dict[str, object]:
        """The commands with these."""
        return dict(with_added({"known": known}, pairs))

    def test_added_commands_are_beside_the_known_ones(self) -> None:
        """They are beside the known ones, in their order."""
        found = self.added(("hi", f"{HERE}.hello"), ("later", f"{HERE}.later"))
        self.assertEqual(found, {"known": known, "hi": given.hello, "later": given.later})
        self.assertEqual(list(found), ["known", "hi", "later"])

    def test_each_mistake_names_its_command(self) -> None:
        """Each is told in a line that names the command."""
        for name, dotted, problem in (
            ("known", f"{HERE}.hello", "the monitor has a command known already"),
            ("help", f"{HERE}.hello", "the monitor has a command help already"),
            (
                "x",
                f"{HERE}.nothing",
                "command x, tests.service.example_commands.nothing, cannot be loaded",
            ),
            ("x", "no_such_module.f", "command x, no_such_module.f, cannot be loaded"),
            ("x", f"{HERE}.TEXT", f"command x, {HERE}.TEXT, is not callable"),
            ("x", f"{HERE}.wordless", "wordless, does not take one argument, a list of words"),
        ):
            error = self.assertRaises(ConfigurationError, self.added, (name, dotted))
            self.assertIn(problem, str(error))
            self.assertNotIn("\n", str(error))

    def test_a_name_is_given_once(self) -> None:
        """A name can be given once."""
        pair = ("hi", f"{HERE}.hello")
        self.assertRaises(ConfigurationError, self.added, pair, pair)

    def test_added_commands_are_called_with_the_words(self) -> None:
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

    def test_each_option_adds_a_command(self) -> None:
        """One for each; without a monitor they make no sense."""
        words = ["--monitor-command", "a=x.a", "--monitor-command=b=y.b"]
        config = self.options("--monitor", "127.0.0.1:0", *words)
        self.assertEqual(config.monitor_commands, (("a", "x.a"), ("b", "y.b")))
        error = self.assertRaises(UsageError, self.options, *words)
        self.assertEqual(str(error), "--monitor-command needs --monitor")
        error = self.assertRaises(UsageError, self.options, "--monitor-command", "a")
        self.assertEqual(
            str(error),
            "--monitor-command: 'a' is invalid: a command for the monitor is NAME=DOTTED.NAME",
        )

    def test_one_paste_key_adds_all_commands(self) -> None:
        """All in one key, with blanks or line ends in between."""
        keys = {"zookeeper": "zk:2181", "path": "/p", "monitor_server": "127.0.0.1:0"}
        self.assertEqual(config_of(keys).monitor_commands, ())
        keys["monitor_commands"] = "a=x.a\n  b=y.b"
        self.assertEqual(config_of(keys).monitor_commands, (("a", "x.a"), ("b", "y.b")))
        keys["monitor_commands"] = "a = x.a"
        error = self.assertRaises(ConfigurationError, config_of, keys)
        self.assertIn("monitor_commands: 'a' is invalid: a command for the monitor", str(error))

    def test_both_halves_of_a_pair_are_required(self) -> None:
        """Both halves have to be there, and the name is one word."""
        self.assertEqual(command_pair("a=b.c"), ("a", "b.c"))
        for text in ("", "a", "=b", "a=", "a b=c", " a=b"):
            self.assertRaises(ConfigurationError, command_pair, text)
