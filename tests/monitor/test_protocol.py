"""Tests of the monitor's line protocol."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.errors import ConfigurationError
from zkservice.monitor import Command, MonitorFactory, MoreLines, TwoForms
from zkservice.monitor.protocol import MAX_LINE, Monitor


def echo(words: list[str]) -> str:
    """Say the words again.

    All of them.
    """
    return " ".join(words)


silent: Command = lambda words: ""  # noqa: E731  # a command without a docstring


class User:
    """Somebody at the other end of a connection."""

    def __init__(self, factory: MonitorFactory) -> None:
        self.transport = StringTransport()
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    def say(self, text: str | bytes) -> None:
        """Send bytes."""
        assert isinstance(self.protocol, Monitor)
        self.protocol.dataReceived(text.encode() if isinstance(text, str) else text)

    def heard(self) -> str:
        """What came since the last time."""
        value: str = self.transport.value().decode()
        self.transport.clear()
        return value

    @property
    def closed(self) -> bool:
        """Whether the monitor closed the connection."""
        return self.transport.disconnecting

    def end(self) -> None:
        """Close the side that sends."""
        assert isinstance(self.protocol, Monitor)
        self.protocol.readConnectionLost()

    def pause(self) -> None:
        """Leave so much unread that the transport asks for no more."""
        producer: Any = self.transport.producer
        producer.pauseProducing()

    def leave(self) -> None:
        """Hang up."""
        self.protocol.connectionLost(Failure(ConnectionDone()))


class MonitorTestCase(SynchronousTestCase):
    """A monitor, a clock and a user."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.slow: list[Deferred[str]] = []
        self.factory = self.make({"echo": echo, "slow": self.wait, "silent": silent})
        self.user = User(self.factory)

    def make(self, commands: Mapping[str, Command]) -> MonitorFactory:
        """A monitor with a minute of patience and room for two."""
        return MonitorFactory(commands, timeout=60.0, max_connections=2, clock=self.clock)

    def wait(self, words: list[str]) -> Deferred[str]:
        """Answer when the test says so."""
        self.slow.append(Deferred())
        return self.slow[-1]


class CommandTests(MonitorTestCase):
    """One command, one answer."""

    def test_a_command_is_answered_and_the_connection_closed(self) -> None:
        """A command is answered with a line, and the connection ends."""
        self.user.say("echo a  b\n")
        self.assertEqual(self.user.heard(), "a b\n")
        self.assertTrue(self.user.closed)

    def test_telnets_line_ends_are_accepted(self) -> None:
        """Lines may end as telnet ends them, and come in pieces."""
        for piece in ("ec", "ho é", "\r", "\n"):
            self.user.say(piece)
        self.assertEqual(self.user.heard(), "é\n")

    def test_what_follows_the_first_command_is_ignored(self) -> None:
        """What follows the first command is not carried out."""
        self.user.say("echo a\necho b\n")
        self.user.say("echo c\n")
        self.assertEqual(self.user.heard(), "a\n")

    def test_an_empty_reply_is_no_line(self) -> None:
        """An empty reply sends no line."""
        self.user.say("silent\n")
        self.assertEqual((self.user.heard(), self.user.closed), ("", True))

    def test_a_reply_of_several_lines_ends_with_one_newline(self) -> None:
        """An answer of several lines ends with exactly one newline."""
        user = User(self.make({"lines": lambda words: "one\ntwo\n\n"}))
        user.say("lines\n")
        self.assertEqual(user.heard(), "one\ntwo\n")

    def test_text_that_is_not_utf8_breaks_nothing(self) -> None:
        """Text that is no UTF-8, in or out, breaks nothing."""
        self.user.say(b"echo \xff\n")
        self.assertEqual(self.user.heard(), "\ufffd\n")
        user = User(self.make({"half": lambda words: "\ud800"}))
        user.say("half\n")
        self.assertEqual(user.heard(), "\\ud800\n")

    def test_an_unknown_command_is_one_line(self) -> None:
        """An unknown command is one clear line."""
        self.user.say("ecco a\n")
        self.assertEqual(self.user.heard(), "error: there is no command 'ecco'; try 'help'\n")
        self.assertTrue(self.user.closed)

    def test_a_long_unknown_command_is_one_line(self) -> None:
        """Even if its name is a page long."""
        self.user.say("x" * 4000 + "\n")
        heard = self.user.heard()
        self.assertLess(len(heard), 400)
        self.assertEqual(heard.count("\n"), 1)

    def test_a_line_without_its_end_is_a_command(self) -> None:
        """A line without its end is a command once its sender has closed: ``printf x | nc -N``."""
        self.user.say("echo a")
        self.assertEqual(self.user.heard(), "")
        self.user.end()
        self.assertEqual((self.user.heard(), self.user.closed), ("a\n", True))

    def test_closing_without_a_command_closes(self) -> None:
        """Who closes without a word is closed."""
        self.user.end()
        self.assertEqual((self.user.heard(), self.user.closed), ("", True))
        self.user.end()
        self.assertEqual(self.user.heard(), "")

    def test_a_command_may_return_a_deferred(self) -> None:
        """A command may take its time."""
        self.user.say("slow\n")
        self.assertEqual((self.user.heard(), self.user.closed), ("", False))
        self.slow[0].callback("done")
        self.assertEqual((self.user.heard(), self.user.closed), ("done\n", True))


class FailureTests(MonitorTestCase):
    """A command's error is one line for the user, and complete in the log."""

    def failing(self, command: Command) -> str:
        """The user's output of a command that fails; its traceback is logged."""
        user = User(self.make({"bad": command}))
        user.say("bad secret\n")
        self.assertTrue(user.closed)
        return user.heard()

    def test_an_exception_is_one_line(self) -> None:
        """An exception is one line for the user, however many its message has."""

        def broken(words: list[str]) -> str:
            raise ValueError("no\n  such thing")

        self.assertEqual(self.failing(broken), "error: no such thing\n")
        (logged,) = self.flushLoggedErrors(ValueError)
        self.assertIn("in broken", logged.getTraceback())

    def test_a_failed_deferred_is_one_line(self) -> None:
        """So is a failed Deferred; without a message it is the exception's name."""
        self.assertEqual(self.failing(lambda words: fail(KeyError())), "error: KeyError\n")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_a_reply_that_is_not_text_is_an_error(self) -> None:
        """A result that is not text is reported as the command's error."""
        heard = self.failing(lambda words: 7)  # type: ignore[arg-type,return-value]
        self.assertEqual(heard, "error: the command returned a int, not a str\n")
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_mistakes_of_users_are_not_logged(self) -> None:
        """An error that a user has to correct is a line for the user, and no traceback."""
        heard = self.failing(lambda words: fail(ConfigurationError("no such level")))
        self.assertEqual(heard, "error: no such level\n")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_long_message_is_cut(self) -> None:
        """A message of pages is cut."""
        heard = self.failing(lambda words: fail(ValueError("x" * 10_000)))
        self.assertEqual(heard, "error: " + "x" * 297 + "...\n")
        self.flushLoggedErrors(ValueError)

    def test_an_interactive_session_continues_after_an_error(self) -> None:
        """An interactive user can go on after an error."""
        self.user.say("interactive\nslow\necho a\n")
        self.slow[0].errback(ValueError("no"))
        self.assertEqual(self.user.heard(), "> error: no\n> a\n> ")
        self.flushLoggedErrors(ValueError)


class ReplyTests(MonitorTestCase):
    """What a command may return beside text."""

    def test_coroutine(self) -> None:
        """A command may be a coroutine function."""

        async def later(words: list[str]) -> str:
            return f"{await self.wait(words)} {words}"

        user = User(self.make({"later": later}))
        user.say("later a\n")
        self.assertEqual(user.heard(), "")
        self.slow[0].callback("done")
        self.assertEqual(user.heard(), "done ['a']\n")

    def test_two_forms(self) -> None:
        """One for programs, which send one command; one for people in a session."""
        factory = self.make({"state": lambda words: TwoForms("all is well", '{"ok": 1}')})
        program, person = User(factory), User(factory)
        program.say("state\n")
        self.assertEqual(program.heard(), '{"ok": 1}\n')
        person.say("interactive\nstate\n")
        self.assertEqual(person.heard(), "> all is well\n> ")

    def test_very_long_reply(self) -> None:
        """A command without a bound of its own does not fill the memory."""
        user = User(self.make({"long": lambda words: "x" * (5 << 20)}))
        user.say("long\n")
        heard = user.heard()
        self.assertTrue(heard.endswith("\n... and 1048576 characters more\n"))
        self.assertLess(len(heard), 5 << 20)


def add(words: list[str], total: int = 0) -> MoreLines:
    """Add the numbers that follow, a line each, until an empty one."""

    def receive(line: str) -> str | MoreLines:
        return add([], total + int(line)) if line else f"sum {total}"

    return MoreLines(f"{total}? ", receive)


class MoreLinesTests(MonitorTestCase):
    """A command that claims the following lines."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.user.leave()
        self.user = User(self.make({"add": add, "echo": echo}))

    def test_one_command(self) -> None:
        """The connection stays open until the command has what it needs."""
        self.user.say("add\n")
        self.assertEqual((self.user.heard(), self.user.closed), ("0? ", False))
        self.user.say("2\r\n40\n")
        self.assertEqual(self.user.heard(), "2? 42? ")
        self.user.say("\n")
        self.assertEqual((self.user.heard(), self.user.closed), ("sum 42\n", True))

    def test_in_a_session(self) -> None:
        """Lines after the last one are commands again, and an empty one repeats the command."""
        self.user.say("interactive\nadd\n7\n\necho help\n")
        self.assertEqual(self.user.heard(), "> 0? 7? sum 7\n> help\n> ")

    def test_commands_are_lines_like_others(self) -> None:
        """What looks like a command is given to the one that has claimed the lines."""
        self.user.say("interactive\nadd\nquit\n")
        self.assertIn("error: invalid literal", self.user.heard())
        self.assertFalse(self.user.closed)
        self.flushLoggedErrors(ValueError)
        self.user.say("echo a\n")
        self.assertEqual(self.user.heard(), "a\n> ")

    def test_http_is_refused(self) -> None:
        """A web page cannot talk to such a command either."""
        self.user.say("add\nGET / HTTP/1.1\n")
        self.assertIn("does not speak HTTP", self.user.heard())
        self.assertTrue(self.user.closed)

    def test_no_line_comes(self) -> None:
        """The time-out of a session applies."""
        self.user.say("add\n")
        self.clock.advance(59)
        self.assertFalse(self.user.closed)
        self.clock.advance(2)
        self.assertTrue(self.user.closed)

    def test_leaves(self) -> None:
        """A user that has left leaves nothing behind."""
        self.user.say("add\n")
        self.user.leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class PluginTests(MonitorTestCase):
    """Commands that come and go."""

    def test_plugins_are_called_for_each_connection(self) -> None:
        """A plugin that is registered later is there for later connections."""
        plugins: dict[str, Command] = {}
        factory = MonitorFactory({"echo": echo}, clock=self.clock, plugins=lambda: plugins)
        plugins["hi"] = lambda words: "hello"
        plugins["echo"] = lambda words: "not mine"
        for line, reply in (("hi", "hello\n"), ("echo a", "a\n")):
            user = User(factory)
            user.say(f"{line}\n")
            self.assertEqual(user.heard(), reply)

    def test_failure(self) -> None:
        """Plugins that cannot be asked are left out; the other commands work."""

        def broken() -> Mapping[str, Command]:
            raise ValueError("no plugins")

        user = User(MonitorFactory({"echo": echo}, clock=self.clock, plugins=broken))
        user.say("echo a\n")
        self.assertEqual(user.heard(), "a\n")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class HelpTests(MonitorTestCase):
    """The docstrings are the help."""

    def test_help_lists_the_commands(self) -> None:
        """``help`` lists the commands in order, with the first line of each docstring."""
        self.user.say("help\n")
        self.assertEqual(
            self.user.heard().splitlines(),
            [
                "echo         Say the words again.",
                "help         List the commands, or explain one: help [command].",
                "interactive  Keep the connection open and show a prompt, until quit.",
                "quit         Close the connection.",
                "silent",
                "slow         Answer when the test says so.",
            ],
        )

    def test_an_empty_line_is_help(self) -> None:
        """An empty command line gets the help."""
        self.user.say("\n")
        self.assertIn("Say the words again.", self.user.heard())
        self.assertTrue(self.user.closed)

    def test_help_of_a_command_is_its_docstring(self) -> None:
        """``help command`` is the whole docstring."""
        self.user.say("interactive\nhelp echo\nhelp silent\nhelp ecco\n")
        self.assertEqual(
            self.user.heard(),
            "> Say the words again.\n\nAll of them.\n"
            "> silent has no help.\n"
            "> error: there is no command 'ecco'; try 'help'\n> ",
        )

    def test_help_of_a_partial_is_its_functions(self) -> None:
        """A partial's help is its function's."""

        def greet(greeting: str, words: list[str]) -> str:
            """Greet somebody."""
            return f"{greeting}, {words[0]}"

        user = User(self.make({"greet": partial(greet, "Good day")}))
        user.say("interactive\nhelp greet\ngreet Bob\n")
        self.assertEqual(user.heard(), "> Greet somebody.\n> Good day, Bob\n> ")


class InteractiveTests(MonitorTestCase):
    """A connection that stays."""

    def test_a_prompt_precedes_each_command(self) -> None:
        """A prompt before each command, and after nothing."""
        self.user.say("interactive\n")
        self.assertEqual(self.user.heard(), "> ")
        self.user.say("\n")
        self.assertEqual(self.user.heard(), "> ")
        self.user.say("echo a\n")
        self.assertEqual(self.user.heard(), "a\n> ")
        self.assertFalse(self.user.closed)

    def test_an_empty_line_repeats_the_last_command(self) -> None:
        """An empty line repeats the last command, with its words."""
        self.user.say("interactive\n\necho a b\n\n \necho c\n\n")
        self.assertEqual(self.user.heard(), "> > a b\n> a b\n> a b\n> c\n> c\n> ")
        self.user.say("help quit\n\nquit\n")
        self.assertEqual(self.user.heard(), "Close the connection.\n> " * 2)
        self.assertTrue(self.user.closed)

    def test_quit_closes_the_connection(self) -> None:
        """``quit`` ends it."""
        self.user.say("interactive\nquit\necho a\n")
        self.assertEqual((self.user.heard(), self.user.closed), ("> ", True))

    def test_replies_come_in_the_order_of_the_commands(self) -> None:
        """Answers come in the order of the commands, whichever takes longer."""
        self.user.say("interactive\nslow\necho two\nslow\necho four\n")
        self.assertEqual((self.user.heard(), len(self.slow)), ("> ", 1))
        self.slow[0].callback("one")
        self.assertEqual((self.user.heard(), len(self.slow)), ("one\n> two\n> ", 2))
        self.slow[1].callback("three")
        self.assertEqual(self.user.heard(), "three\n> four\n> ")

    def test_nothing_is_read_while_a_command_runs(self) -> None:
        """While a command runs nothing is read: a client that sends without end has to wait."""
        self.user.say("interactive\nslow\n")
        self.assertEqual(self.user.transport.producerState, "paused")
        self.slow[0].callback("")
        self.assertEqual(self.user.transport.producerState, "producing")

    def test_the_last_line_is_answered_without_a_prompt(self) -> None:
        """Who closes its side gets the answer to its last line, and no prompt."""
        self.user.say("interactive\necho a\nslow")
        self.user.end()
        self.assertEqual((self.user.heard(), self.user.closed), ("> a\n> ", False))
        self.slow[0].callback("b")
        self.assertEqual((self.user.heard(), self.user.closed), ("b\n", True))

    def test_ten_thousand_commands_need_no_recursion(self) -> None:
        """Ten thousand commands at once need no recursion."""
        self.user.say("interactive\n" + "echo a\n" * 10_000)
        self.assertEqual(self.user.heard(), "> " + "a\n> " * 10_000)


class LimitTests(MonitorTestCase):
    """Nobody can hold a connection for ever, or fill the memory."""

    def test_a_line_over_the_limit_closes_the_connection(self) -> None:
        """A line over the limit ends the connection, whether its end has come or not."""
        for rest in ("", "\n"):
            user = User(self.factory)
            user.say("x" * (MAX_LINE + 1) + rest)
            self.assertEqual(user.heard(), "error: a line has at most 4096 bytes\n")
            self.assertTrue(user.closed)
            user.say("echo a\n")
            self.assertEqual(user.heard(), "")
            user.leave()
        self.user.say("echo " + "x" * (MAX_LINE - 5) + "\n")
        self.assertEqual(len(self.user.heard()), MAX_LINE - 5 + 1)

    def test_a_silent_connection_times_out(self) -> None:
        """A connection that sends no line within five seconds is closed, with an error."""
        self.clock.advance(4.9)
        self.assertFalse(self.user.closed)
        self.clock.advance(0.1)
        self.assertEqual(self.user.heard(), "error: no command within 5 seconds\n")
        self.assertTrue(self.user.closed)

    def test_an_interactive_session_may_idle_longer(self) -> None:
        """An interactive session may be idle for longer, but not for ever."""
        self.user.say("interactive\n")
        self.clock.advance(59.9)
        self.assertEqual((self.user.heard(), self.user.closed), ("> ", False))
        self.clock.advance(0.1)
        self.assertEqual(self.user.heard(), "error: no command within 60 seconds\n")
        self.assertTrue(self.user.closed)

    def test_single_bytes_do_not_reset_the_timeout(self) -> None:
        """Single bytes do not count: only a whole line is a sign of life."""
        for _ in range(5):
            self.user.say("x")
            self.clock.advance(1.0)
        self.assertTrue(self.user.closed)

    def test_unread_replies_stop_the_reading(self) -> None:
        """While a user does not read the answers, no further command is read."""
        self.user.say("interactive\n")
        producer: Any = self.user.transport.producer
        producer.pauseProducing()
        self.user.say("echo a\n")
        self.assertEqual(self.user.heard(), "> ")
        producer.resumeProducing()
        self.assertEqual(self.user.heard(), "a\n> ")

    def test_unread_while_running(self) -> None:
        """Room in the transport does not start the next command while one is running."""
        self.user.say("interactive\nslow\necho a\n")
        producer: Any = self.user.transport.producer
        producer.pauseProducing()
        producer.resumeProducing()
        self.assertEqual(self.user.heard(), "> ")
        self.slow[0].callback("b")
        self.assertEqual(self.user.heard(), "b\n> a\n> ")

    def test_each_command_resets_the_timeout(self) -> None:
        """Each command starts the time anew."""
        self.user.say("interactive\n")
        for _ in range(5):
            self.clock.advance(50.0)
            self.user.say("echo a\n")
        self.assertFalse(self.user.closed)

    def test_the_users_time_and_the_commands_are_separate(self) -> None:
        """The user's time and the command's are two: neither eats of the other."""
        self.user.say("interactive\n")
        self.clock.advance(50.0)
        self.user.say("slow\n")
        self.clock.advance(50.0)
        self.slow[0].callback("done")
        self.clock.advance(50.0)
        self.assertEqual((self.user.heard(), self.user.closed), ("> done\n> ", False))

    def test_a_slow_command_is_cancelled(self) -> None:
        """A command that does not answer in time is cancelled."""
        cancelled = list[Deferred[str]]()
        user = User(self.make({"slow": lambda words: Deferred(cancelled.append)}))
        user.say("slow\n")
        self.clock.advance(60.0)
        self.assertEqual(user.heard(), "error: no reply within 60 seconds\n")
        self.assertTrue(user.closed)
        self.assertEqual(len(cancelled), 1)

    def test_a_result_after_the_cancellation_is_too_late(self) -> None:
        """A command that answers its cancellation has come too late all the same."""

        def stubborn(words: list[str]) -> Deferred[str]:
            return Deferred(lambda running: running.callback("at last"))

        user = User(self.make({"slow": stubborn}))
        user.say("slow\n")
        self.clock.advance(60.0)
        self.assertEqual(user.heard(), "error: no reply within 60 seconds\n")

    def test_a_failure_after_the_cancellation_is_logged(self) -> None:
        """A command that fails on its cancellation is logged."""

        def broken(words: list[str]) -> Deferred[str]:
            return Deferred(lambda running: running.errback(ValueError("late")))

        user = User(self.make({"slow": broken}))
        user.say("slow\n")
        self.clock.advance(60.0)
        self.assertEqual(user.heard(), "error: no reply within 60 seconds\n")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_user_who_reads_nothing_is_dropped(self) -> None:
        """A user that does not read the reply is disconnected after a time-out."""
        self.user.say("echo a\n")
        self.assertTrue(self.user.closed)
        self.assertFalse(self.user.transport.disconnected)
        self.clock.advance(60.0)
        self.assertTrue(self.user.transport.disconnected)

    def test_a_user_who_leaves_cancels_the_command(self) -> None:
        """A user who leaves takes the running command along, and leaves no timer."""
        cancelled = list[Deferred[str]]()
        user = User(self.make({"slow": lambda words: Deferred(cancelled.append)}))
        user.say("slow\n")
        user.leave()
        self.assertEqual(len(cancelled), 1)
        self.user.leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(list(self.factory.slots.connections), [])


class PlaceTests(MonitorTestCase):
    """An operator gets in, however many connections there are."""

    GAVE_WAY = "error: the connection was idle, and another one needs its place\n"

    def test_silent_ones_do_not_lock_out(self) -> None:
        """Of silent connections the oldest gives way, at once."""
        second = User(self.factory)
        third = User(self.factory)
        third.say("echo a\n")
        self.assertEqual(third.heard(), "a\n")
        self.assertEqual((self.user.heard(), self.user.closed), (self.GAVE_WAY, True))
        self.assertFalse(second.closed)

    def test_session_outlasts_silent_ones(self) -> None:
        """An interactive session stays while there is a silent connection to give way."""
        self.user.say("interactive\n")
        for _ in range(5):
            User(self.factory)
        self.assertFalse(self.user.closed)

    def test_session_gives_way(self) -> None:
        """Of interactive sessions the one that has been idle longest gives way."""
        second = User(self.factory)
        second.say("interactive\n")
        self.user.say("interactive\necho a\n")
        third = User(self.factory)
        self.assertEqual((second.closed, self.user.closed, third.closed), (True, False, False))

    def test_unread_session_is_dropped(self) -> None:
        """A session that does not read its answers gives way without a further line."""
        self.user.say("interactive\n")
        self.user.pause()
        User(self.factory).say("interactive\n")
        User(self.factory)
        self.assertTrue(self.user.transport.disconnected)

    def test_unread_answer_gives_way(self) -> None:
        """A final reply that is not read does not keep new users out."""
        self.user.say("echo a\n")
        User(self.factory).say("interactive\n")
        User(self.factory)
        self.assertTrue(self.user.transport.disconnected)

    def test_refused_while_all_are_busy(self) -> None:
        """One connection too many is refused only while all others run a command."""
        second = User(self.factory)
        self.user.say("slow\n")
        second.say("slow\n")
        third = User(self.factory)
        self.assertEqual(third.heard(), "error: too many connections to the monitor\n")
        self.assertTrue(third.closed)
        second.leave()
        fourth = User(self.factory)
        fourth.say("echo a\n")
        self.assertEqual(fourth.heard(), "a\n")


class HTTPTests(MonitorTestCase):
    """What a web page makes a browser send is not carried out."""

    def test_request_is_refused(self) -> None:
        """A request closes the connection, whichever method or command begins it."""
        for line in ("POST / HTTP/1.1", "echo / HTTP/1.1", "echo x http/1.0", "PRI * HTTP/2.0"):
            user = User(self.factory)
            user.say(f"{line}\r\nHost: localhost\r\n\r\necho a\n")
            self.assertEqual(
                user.heard(), "error: this is a monitor, which does not speak HTTP\n", line
            )
            self.assertTrue(user.closed)
            user.leave()

    def test_request_in_a_session_is_refused(self) -> None:
        """So does one in an interactive session, and one whose line end is missing."""
        self.user.say("interactive\nGET /x HTTP/1.1\r\necho a\n")
        self.assertTrue(self.user.heard().endswith("does not speak HTTP\n"))
        second = User(self.factory)
        second.say("echo / HTTP/1.1")
        second.end()
        self.assertTrue(second.heard().endswith("does not speak HTTP\n"))

    def test_words_about_http(self) -> None:
        """A command may have words about HTTP."""
        self.user.say("echo HTTP/1.1 is old\n")
        self.assertEqual(self.user.heard(), "HTTP/1.1 is old\n")


class FactoryTests(MonitorTestCase):
    """Making monitors."""

    def test_names_that_could_not_be_called_are_refused(self) -> None:
        """A name that is built in, or no word, could never be called."""
        for name in ("help", "interactive", "quit", "", "two words", " x"):
            with self.assertRaises(ValueError):
                MonitorFactory({name: echo})

    def test_stopping_drops_the_connections(self) -> None:
        """When the port closes the connections are dropped, and leave no timer."""
        self.factory.doStart()
        self.factory.doStop()
        self.assertTrue(self.user.transport.disconnected)
        self.user.leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_commands_are_those_at_its_creation(self) -> None:
        """The commands are those that were given when it was made."""
        commands: dict[str, Command] = {"echo": echo}
        user = User(self.make(commands))
        commands.clear()
        user.say("echo a\n")
        self.assertEqual(user.heard(), "a\n")

    def test_without_a_clock_the_reactor_tells_the_time(self) -> None:
        """Without a clock the time-outs are the reactor's."""
        user = User(MonitorFactory({"echo": echo}))
        user.say("echo a\n")
        self.assertEqual(user.heard(), "a\n")
        user.leave()
