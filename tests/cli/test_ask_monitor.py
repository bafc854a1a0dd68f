"""Tests for `zkservice.cli.ask_monitor`."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor  # noqa: TID251
from twisted.internet.protocol import Factory, Protocol
from typing_extensions import override

from tests.cli.base import CommandTestCase
from zkservice.cli.ask_monitor import time_taken
from zkservice.cli.context import Exit


class FakeMonitor(Protocol):
    """Answers one line."""

    text = ""
    help = ""
    asked: list[bytes]

    @override
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.asked.append(data)
        text = self.text or (self.help if data == b"help\n" else "")
        self.transport.write(text.encode() + b"\n")
        self.transport.loseConnection()


class CheckTests(CommandTestCase):
    """check and get-addr."""

    def listen(self, text: str, help: str = "") -> str:
        """A monitor that answers a text, and another if there is none and it is asked for help."""
        self.asked: list[bytes] = []
        fake = type("Fake", (FakeMonitor,), {"text": text, "help": help, "asked": self.asked})
        factory: Any = Factory.forProtocol(fake)
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"127.0.0.1:{port.getHost().port}"

    async def test_addresses_of_a_service_are_shown(self) -> None:
        """The addresses of a service are shown; none is a failure."""
        monitor = self.listen("1.2.3.4:5 1.2.3.4:6")
        result = await self.run_("get-addr", monitor, "/svc")
        self.assertEqual((result.code, result.out), (Exit.DONE, "1.2.3.4:5 1.2.3.4:6\n"))
        self.assertEqual(self.asked, [b"servers /svc\n"])
        result = await self.run_("get-addr", self.listen("", help="help  this"), "/svc")
        self.assertEqual((result.code, result.out), (Exit.FAILED, ""))
        self.assertIn("this service is not registered under /svc", result.err)

    async def test_only_a_service_that_listens_is_healthy(self) -> None:
        """A service that does not listen, or is not registered, is unhealthy."""
        good = self.zookeeper.connection_string
        result = await self.run_("check", self.listen(good), "/svc")
        self.assertEqual((result.code, result.out, result.err), (Exit.DONE, "", ""))
        result = await self.run_("check", self.listen(f"{good} 127.0.0.1:1"), "/svc")
        self.assertEqual(result.code, Exit.FAILED)
        self.assertIn("127.0.0.1:1 does not accept connections", result.err)
        result = await self.run_("check", self.listen("", help="help  this"), "/svc")
        self.assertIn("this service is not registered under /svc", result.err)

    async def test_the_reply_of_a_monitor_is_shown(self) -> None:
        """What a monitor answers is shown; what it refuses is a failure."""
        result = await self.run_("ask", self.listen("out: new disk"), "out", "new", "disk")
        self.assertEqual((result.code, result.out), (Exit.DONE, "out: new disk\n"))
        self.assertEqual(self.asked, [b"out new disk\n"])
        result = await self.run_("ask", self.listen('{"path": "/svc"}'), "status", "--json")
        self.assertEqual(json.loads(result.out), {"path": "/svc"})
        result = await self.run_("ask", self.listen("error: what?"), "nonsense")
        self.assertEqual((result.code, result.out), (Exit.FAILED, ""))
        self.assertIn("says: error: what?", result.err)

    async def test_ask_what_is_no_monitor(self) -> None:
        """What listens may be something else: its reply is no result, and silence is none."""
        for reply in (
            "HTTP/1.1 400 Bad Request\r\n\r\nno",
            "SSH-2.0-Twisted",
            "stat is not executed because it is not in the whitelist.",
            "Zookeeper version: 3.8.0",
            "",
        ):
            address = self.listen(reply)
            result = await self.run_("ask", address, "servers", "/svc")
            self.assertEqual((result.code, result.out), (Exit.FAILED, ""), reply)
            self.assertIn(f"what listens at {address} is not a monitor; it ", result.err)
            self.assertEqual(result.err.count("\n"), 1)

    async def test_an_empty_reply_is_allowed(self) -> None:
        """A command may have an empty reply; the reply to ``help`` shows that it is a monitor."""
        result = await self.run_("ask", self.listen("", help="help  this"), "servers", "/nope")
        self.assertEqual((result.code, result.out, result.err), (Exit.DONE, "", ""))

    async def test_check_prints_words_on_a_terminal(self) -> None:
        """On a terminal success is printed in words, with ``--json`` as a value."""
        good = self.zookeeper.connection_string
        result = await self.run_("check", self.listen(good), "/svc", tty=True, NO_COLOR="")
        self.assertEqual(result.err, f"{good} is registered and accepts connections\n")
        result = await self.run_("check", "--json", self.listen(f"{good} 127.0.0.1:1"), "svc/")
        self.assertEqual(json.loads(result.out), {good: True, "127.0.0.1:1": False})
        self.assertEqual((result.code, self.asked), (Exit.FAILED, [b"servers /svc\n"]))

    async def test_ask_for_json(self) -> None:
        """Commands that have JSON are asked for it; others reply as they do."""
        for words, sent in (
            (("requests", "--json"), b"requests --json\n"),
            (("out", "--json"), b"out\n"),
            (("requests",), b"requests\n"),
            (("status",), b"status\n"),
        ):
            await self.run_("ask", self.listen("[]"), *words)
            self.assertEqual(self.asked, [sent])

    async def test_status_for_people(self) -> None:
        """At a terminal the status comes in words."""
        await self.run_("ask", self.listen("registered"), "status", tty=True)
        self.assertEqual(self.asked, [b"status --text\n"])
        await self.run_("ask", self.listen("registered"), "status", "--text")
        self.assertEqual(self.asked, [b"status --text\n"])
        await self.run_("ask", self.listen("{}"), "status", "--json", tty=True)
        self.assertEqual(self.asked, [b"status\n"])

    def test_commands_that_take_their_time(self) -> None:
        """A command with a time as its argument gets that long, in addition to the time-out."""
        for line, seconds in (
            ("status", 0.0),
            ("profile 20", 20.0),
            ("profile", 0.0),
            ("profile x", 0.0),
            ("drain", 30.0),
            ("drain 60", 60.0),
            ("out 60", 0.0),
        ):
            self.assertEqual(time_taken(line.split()), seconds, line)

    async def test_ask_without_words_shows_the_help(self) -> None:
        """Without a command the monitor's help is printed."""
        result = await self.run_("ask", self.listen("out  Deregister\n in  Register"))
        self.assertEqual((result.code, result.out), (Exit.DONE, "out  Deregister\n in  Register\n"))
        self.assertEqual(self.asked, [b"help\n"])
        result = await self.run_("ask", self.listen("two\nlines"), "--json")
        self.assertEqual(json.loads(result.out), "two\nlines")

    async def test_no_reply_costs_the_timeout_only(self) -> None:
        """A monitor that does not reply costs the time-out, and no more."""
        factory: Any = Factory.forProtocol(Protocol)
        server: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(server.stopListening)
        address = f"127.0.0.1:{server.getHost().port}"
        result = await self.run_("ask", address, "interactive", "--timeout", "0.1")
        self.assertEqual(result.code, Exit.FAILED)
        self.assertIn("no reply in time", result.err)

    async def test_an_unknown_name_is_one_line(self) -> None:
        """A name that does not resolve is one line, for the monitor and for the service."""
        nobody = "no-such-host.invalid:80"
        result = await self.run_("get-addr", nobody, "/svc")
        self.assertEqual((result.code, result.err.count("\n")), (Exit.FAILED, 1))
        self.assertIn(f"there is no monitor at {nobody}: DNS lookup failed", result.err)
        result = await self.run_("check", self.listen(nobody), "/svc")
        self.assertEqual((result.code, result.err.count("\n")), (Exit.FAILED, 1))
        self.assertIn(f"{nobody} does not accept connections: DNS lookup failed", result.err)

    async def test_another_server_is_no_monitor(self) -> None:
        """A server with another reply is not a monitor, and its reply is not an address."""
        for answer in ("HTTP/1.1 400 Bad Request\r\n\r\nno", "a:1 b"):
            address = self.listen(answer)
            for command in ("get-addr", "check"):
                result = await self.run_(command, address, "/svc")
                self.assertEqual((result.code, result.out), (Exit.FAILED, ""))
                self.assertIn(f"{address} is not a monitor; it replies", result.err)
                self.assertEqual(result.err.count("\n"), 1)

    async def test_a_missing_monitor_is_one_line(self) -> None:
        """No monitor, a bad address, and a monitor that complains, are one line each."""
        for address, said in (
            ("127.0.0.1:1", "there is no monitor at 127.0.0.1:1"),
            ("/no/such/socket", "there is no monitor at /no/such/socket"),
            ("nonsense", "HOST:PORT"),
            (self.listen("error: no"), "says: error: no"),
        ):
            result = await self.run_("check", address, "/svc", "--timeout", "1")
            self.assertEqual(result.code, Exit.FAILED)
            self.assertIn(said, result.err)
            self.assertEqual(result.err.count("\n"), 1)
