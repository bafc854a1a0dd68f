"""Tests for commands of the monitor that a user adds."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor  # noqa: TID251 - trial's
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock, deferLater
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.connected import ConnectedTestCase
from tests.service import example_commands as given
from zkservice.errors import ConfigurationError
from zkservice.monitor import Command
from zkservice.registry import Registration, RegistrationState, register
from zkservice.service.commands import monitor_commands
from zkservice.service.commands.monitor_commands import (
    command_pair,
    commands,
    with_added,
    with_plugins,
)
from zkservice.service.commands.operated import NoFront, Operated
from zkservice.service.config import Config
from zkservice.service.options.serve_options import Options
from zkservice.service.paste import config_of
from zkservice.service.state.availability import CONFIRM, HEALTH, Availability
from zkservice.service.state.process_report import ProcessReport

HERE = "tests.service.example_commands"


class QuietFront:
    """A supervisor front with a given number of connections; it records the calls."""

    size = 0

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.connections = 0

    def processes(self) -> list[dict[str, Any]]:
        """None."""
        return []

    def resize(self, size: int) -> None:
        """Not done."""

    def inspect(
        self, what: str, *arguments: Any, timeout: float = 1.0
    ) -> Deferred[list[ProcessReport]]:
        """One process replies at once."""
        self.asked.append((what, *arguments))
        told = {"connections": self.connections, "in_service": self.connections}
        return succeed([ProcessReport("", 1, told if what == "connections" else None)])


def known(words: list[str]) -> str:
    """A command that is there already."""
    return "known"


class OutAndInTests(ConnectedTestCase):
    """What an operator's commands reply, and when."""

    @override
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.registration = register(self.client, "/svc", "h:1", {"color": "blue"})
        await self.registration.when_registered()
        self.clock, self.availability = Clock(), Availability()
        self.availability.attach(self.registration)
        self.front = QuietFront()
        self.commands = self.made(self.registration)

    def made(self, registration: Registration) -> dict[str, Command]:
        """The commands of a service with this registration."""
        return commands(
            Operated(
                lambda: [registration],
                dict,
                self.availability,
                self.clock,
                self.client,
                self.front,
            )
        )

    async def say(self, line: str) -> str:
        """What the monitor replies."""
        name, *words = line.split()
        answer: Any = await maybeDeferred(self.commands[name], words)
        assert isinstance(answer, str)
        return answer

    def exists(self) -> bool:
        """Whether the znode is on the server now."""
        return "/svc/h:1" in self.server.tree()

    async def until_out(self) -> None:
        """Wait until the registration is taken out."""
        while self.registration.state is not RegistrationState.OUT:
            await deferLater(reactor, 0.01)

    async def test_out_replies_when_the_znode_is_gone(self) -> None:
        """After the reply of 'out', ``servers`` is empty, too."""
        self.assertEqual(await self.say("servers /svc"), "h:1")
        self.assertEqual(await self.say("out new disk"), "out: new disk")
        self.assertFalse(self.exists())
        self.assertEqual(await self.say("servers /svc"), "")
        self.assertEqual(json.loads(await self.say("servers")), [])
        self.assertEqual(await self.say("out other disk"), "out: other disk")

    async def test_in_replies_when_the_znode_is_there(self) -> None:
        """The same for 'in', also if the service was never out."""
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
        self.commands = self.made(other)
        self.assertEqual(await self.say("servers /our  own svc"), "h:2")
        self.assertEqual(await self.say("servers /our"), "")

    async def test_in_names_other_reasons_at_once(self) -> None:
        """'in' does not wait for reasons that an operator cannot remove."""
        self.availability.block(HEALTH, "health: status 503")
        await self.until_out()
        await self.say("out")
        self.assertEqual(await self.say("in"), "in; but health: status 503")

    async def test_no_confirmation_is_an_error(self) -> None:
        """If ZooKeeper does not answer in time, the reply says so, and out stays in force."""
        self.server.pause()
        answer: Any = maybeDeferred(self.commands["out"], ["disk"])
        self.clock.advance(CONFIRM)
        self.assertEqual(
            await answer, "error: out is accepted, but not confirmed within 5 s: registered"
        )
        self.server.resume()
        await self.until_out()
        self.assertFalse(self.exists())

    async def test_program_that_only_registers(self) -> None:
        """It has no commands about processes; the others work."""
        self.front = NoFront()  # type: ignore[assignment]
        self.commands = self.made(self.registration)
        self.assertEqual(
            set(self.commands),
            {"in", "out", "registrations", "servers", "stats", "status", "tree", "zookeeper"},
        )
        self.assertEqual(await self.say("out"), "out: taken out through the monitor")
        self.assertEqual(await self.say("in"), "in")

    async def test_drain_replies_when_no_client_is_left(self) -> None:
        """The service is out, connections are asked to end, and idle ones are closed after a while.

        'in' undoes all of it.
        """
        self.front.connections = 2
        answer: Any = maybeDeferred(self.commands["drain"], [])
        await self.until_out()
        while ("connections", False) not in self.front.asked:
            await deferLater(reactor, 0.01)
        self.assertNoResult(answer)
        self.clock.advance(1.0)
        self.assertEqual(self.front.asked[-1], ("connections", True))
        self.front.connections = 0
        self.clock.advance(0.1)
        self.assertEqual(await answer, "drained: no connection is left")
        self.assertIn(("drain connections", True), self.front.asked)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(await self.say("in"), "in")
        self.assertEqual(self.front.asked[-1], ("drain connections", False))

    async def test_drain_says_what_is_left(self) -> None:
        """When the time is over; the service stays out, so that the operator can wait again."""
        self.front.connections = 2
        await self.say("out")
        reply = await self.say("drain 0")
        self.assertEqual(reply, "error: left after 0 s: 2 connections, 2 requests in service")
        self.assertFalse(self.exists())
        for mistake in ("drain x", "drain 101", "drain 1 2", "drain -1"):
            self.assertIn("error: write drain [SECONDS]", await self.say(mistake))

    async def test_lost_connection_ends_the_wait(self) -> None:
        """The end of the connection cancels the command, and no timer is left."""
        self.server.pause()
        answer: Any = maybeDeferred(self.commands["out"], [])
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
        """Each mistake is reported in one line that names the command."""
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
        answer: object = found["later"]([])
        assert isinstance(answer, Deferred)
        self.assertEqual(self.successResultOf(answer), "later")


class PluginEntryPointTests(SynchronousTestCase):
    """Commands of installed packages."""

    def with_points(self, **points: Any) -> dict[str, Command]:
        """The commands when packages have these entry points."""
        found = [_Point(name, value) for name, value in points.items()]
        self.patch(monitor_commands, "entry_points", lambda group: found)
        return with_plugins({"known": known})

    def test_loaded(self) -> None:
        """They are beside the others."""
        self.assertEqual(self.with_points(hi=given.hello), {"known": known, "hi": given.hello})

    def test_failures_are_left_out(self) -> None:
        """A plugin that cannot be loaded or called, or has a name that is taken, is logged."""
        found = self.with_points(
            a=ImportError("no module"),
            b=SystemExit(3),
            c=given.TEXT,
            d=given.wordless,
            known=given.hello,
            help=given.hello,
            good=given.hello,
        )
        self.assertEqual(set(found), {"known", "good"})
        self.assertEqual(found["known"], known)
        self.assertEqual(len(self.flushLoggedErrors(ImportError, SystemExit)), 2)


class _Point:
    """An entry point."""

    def __init__(self, name: str, value: Any) -> None:
        self.name = name
        self._value = value

    def load(self) -> Any:
        """Return it, or fail."""
        if isinstance(self._value, BaseException):
            raise self._value
        return self._value


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
