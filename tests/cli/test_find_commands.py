"""Tests for `zkservice.cli.find_commands`, with a real server."""

from __future__ import annotations

import io
import json
import os
from typing import Any

from twisted.internet import reactor  # noqa: TID251
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.cli.base import CommandTestCase, Screen
from zkservice.cli.context import Context, Exit
from zkservice.cli.main import run_command
from zkservice.cli.parser import parse_arguments
from zkservice.cli.terminal import Terminal
from zkservice.formats import FORMATS, Announcement
from zkservice.wire.acl import ACL, ANYONE, Permission


class ResolveTests(CommandTestCase):
    """``zkservice resolve``."""

    async def register(self, name: str, data: bytes = b"", **options: Any) -> None:
        """Register this."""
        await self.client.ensure_path("/svc")
        await self.client.create(f"/svc/{name}", data, **options)

    async def test_table(self) -> None:
        """Address, state, weight, zone, format and the other properties."""
        await self.register("a:80", b'{"weight": 3, "zone": "x", "pid": 7}')
        one = Announcement("/svc", "10.0.0.1:80", {}, 0, available=False)
        serverset = FORMATS["serverset"]
        await self.register(serverset.znode_name(one), serverset.data(one))
        await self.register("leader", b"host")
        result = await self.run_("resolve", "HOSTS", "/svc")
        self.assertEqual(result.code, Exit.DONE)
        self.assertEqual(
            [line.split() for line in result.out.splitlines()],
            [
                ["ADDRESS", "STATE", "WEIGHT", "ZONE", "FORMAT", "PROPERTIES"],
                ["a:80", "up", "3", "x", "properties", '{"pid":', "7}"],
                ["10.0.0.1:80", "stopping", "1", "serverset"],
            ],
        )
        self.assertIn("/svc: 'leader': it is not a service instance", result.err)

    async def test_json(self) -> None:
        """All of it, for programs; a link is followed."""
        await self.register("a:80", b'{"weight": 3, "pid": 7}')
        await self.client.create("/live", b'{"web ->": "/svc"}')
        result = await self.run_("resolve", "--json", "HOSTS", "/live/web")
        found = json.loads(result.out)
        self.assertEqual((found["path"], found["problems"]), ("/live/web", []))
        (provider,) = found["providers"]
        self.assertEqual(
            {name: provider[name] for name in ("address", "state", "weight", "format", "tls")},
            {"address": "a:80", "state": "up", "weight": 3, "format": "properties", "tls": False},
        )

    async def test_nothing_registered_is_a_failure(self) -> None:
        """Scripts see it by the exit code; people by a line that says why."""
        result = await self.run_("resolve", "HOSTS", "/svc")
        self.assertEqual((result.code, result.out), (Exit.FAILED, ""))
        self.assertIn("/svc: no provider is registered here", result.err)
        result = await self.run_("resolve", "HOSTS", "/svc", "--json")
        self.assertEqual((result.code, json.loads(result.out)["providers"]), (Exit.FAILED, []))
        await self.client.create("/round", b'{"web ->": "/round/web/on"}')
        result = await self.run_("resolve", "HOSTS", "/round/web")
        self.assertEqual(result.code, Exit.FAILED)
        self.assertIn("loop", result.err)

    async def test_servers_of_the_environment(self) -> None:
        """HOSTS may be left out."""
        await self.register("a:80")
        hosts = self.zookeeper.connection_string
        result = await self.run_("resolve", "/svc", ZC_ZK_CONNECTION_STRING=hosts)
        self.assertIn("a:80", result.out)

    async def test_hostile_data_do_not_command_the_terminal(self) -> None:
        """What is not printable is shown as an escape, and a line is no wider than the screen."""
        await self.register(
            "a:80", b'{"zone": "\\u001b[31m", "x": "\\u001b]0;", "y": "%b"}' % (b"z" * 999)
        )
        await self.register("evil\u202e", b"")
        result = await self.run_("resolve", "HOSTS", "/svc", tty=True, COLUMNS="100")
        self.assertNotIn("\x1b[31m\x1b", result.out + result.err)
        self.assertNotIn("\x1b]", result.out)
        self.assertNotIn("\u202e", result.out + result.err)
        self.assertIn("\\x1b[31m", result.out)
        self.assertEqual(max(map(len, result.out.splitlines())), 100)
        self.assertEqual(result.out.splitlines()[1][-1], "…")
        result = await self.run_("resolve", "HOSTS", "/svc", COLUMNS="100")
        self.assertGreater(max(map(len, result.out.splitlines())), 900)

    async def watching(self, *words: str, out: Any = None) -> tuple[Deferred[Exit], Terminal]:
        """``resolve --watch``, when it has printed what is registered."""
        hosts = self.zookeeper.connection_string
        invocation = parse_arguments(["resolve", "--watch", *words, hosts, "/svc"])
        terminal = Terminal(Screen(), out or Screen(), Screen(), environ={})
        running = Deferred.fromCoroutine(run_command(Context(reactor, terminal), invocation.run))
        await self.until_printed(terminal, "ADDRESS" if out is None else "")
        return running, terminal

    async def until_printed(self, terminal: Terminal, text: str) -> None:
        """Wait until something was printed."""
        while text and text not in terminal.stdout.getvalue():  # type: ignore[attr-defined]
            await deferLater(reactor, 0.01)

    async def test_watch_prints_changes(self) -> None:
        """What comes, what changes and what goes; Ctrl-C ends it."""
        await self.register("a:80")
        running, terminal = await self.watching()
        await self.register("b:80", b'{"zone": "x"}')
        await self.until_printed(terminal, "+ b:80  up  1  x  properties")
        await self.client.set("/svc/a:80", b'{"weight": 2}')
        await self.until_printed(terminal, "~ a:80  up  2  properties")
        await self.client.delete("/svc/a:80")
        await self.until_printed(terminal, "- a:80")
        running.cancel()
        self.assertEqual(await running, Exit.STOPPED)

    async def test_watch_says_what_is_doubtful(self) -> None:
        """Providers that vanish together stay, and are marked."""
        for name in "abcd":
            await self.register(f"{name}:80")
        running, terminal = await self.watching()
        transaction = self.client.transaction()
        for name in "abcd":
            transaction.delete(f"/svc/{name}:80")
        await transaction.commit()
        await self.until_printed(terminal, "~ a:80  doubtful")
        running.cancel()
        await running

    async def test_watch_ends_with_its_reader(self) -> None:
        """Although nothing changes, a closed pipe is noticed."""
        await self.register("a:80")
        reading, writing = os.pipe()
        out = io.TextIOWrapper(open(writing, "wb"), line_buffering=True)  # noqa: SIM115
        self.addCleanup(out.close)
        running, _ = await self.watching(out=out)
        heard = b""
        while b"a:80" not in heard:
            await deferLater(reactor, 0.05)
            heard += os.read(reading, 4096)
        os.close(reading)
        with self.assertRaises(BrokenPipeError):
            await running

    async def test_watch_of_nothing_waits(self) -> None:
        """A service that does not exist yet is not an error."""
        running, terminal = await self.watching(out=Screen())
        while "no provider is registered at /svc yet" not in terminal.stderr.getvalue():  # type: ignore[attr-defined]
            await deferLater(reactor, 0.01)
        await self.register("a:80")
        await self.until_printed(terminal, "+ a:80")
        running.cancel()
        await running


class ListTests(CommandTestCase):
    """``zkservice ls``."""

    async def test_names_have_marks(self) -> None:
        """A slash where there is more below, a star for an ephemeral node."""
        await self.client.ensure_path("/a/b/c")
        await self.client.create("/a/leader", b'{"x": 1, "y": 2}', ephemeral=True)
        await self.client.create("/a/text", b"hello")
        result = await self.run_("ls", "HOSTS", "/a")
        self.assertEqual(
            result.out, "b/       1 node\nleader*  2 properties\ntext     1 property\n"
        )
        self.assertIn("a/", (await self.run_("ls", "HOSTS")).out)
        result = await self.run_("ls", "HOSTS", "/a/b/c")
        self.assertEqual((result.code, result.out), (Exit.DONE, ""))

    async def test_long_form_shows_the_stat(self) -> None:
        """One line for each node, under a heading; the session that owns it, too."""
        await self.client.create("/a")
        await self.client.create("/a/leader", b'{"x": 1}', ephemeral=True)
        await self.client.create("/a/c")
        await self.client.set("/a/leader", b'{"x": 22}')
        lines = (await self.run_("ls", "-l", "HOSTS", "/a")).out.splitlines()
        self.assertEqual(
            lines[0].split(),
            ["KIND", "VERSION", "NODES", "PROPERTIES", "BYTES", "CHANGED", "OWNER", "NAME"],
        )
        self.assertRegex(lines[1], r"^persistent +0 +0 +0 +0 +\d{4}-\d\d-\d\d \S+ +- +c$")
        assert self.client.client_id is not None
        owner = f"{self.client.client_id[0]:#x}"
        self.assertRegex(lines[2], rf"^ephemeral +1 +0 +1 +9 .* {owner} +leader\*$")

    async def test_json(self) -> None:
        """The Stat by its names."""
        await self.client.ensure_path("/a/b")
        (found,) = json.loads((await self.run_("ls", "HOSTS", "/a", "--json")).out)
        self.assertEqual(
            (found["name"], found["path"], found["kind"], found["stat"]["version"]),
            ("b", "/a/b", "persistent", 0),
        )

    async def test_nodes_that_may_not_be_read(self) -> None:
        """They are listed all the same."""
        await self.client.create("/a")
        await self.client.create("/a/s", b"{}", [ACL(int(Permission.DELETE), ANYONE)])
        result = await self.run_("ls", "HOSTS", "/a")
        self.assertEqual((result.err, result.out), ("", "s  may not be read\n"))
        self.assertIn(" ? ", (await self.run_("ls", "-l", "HOSTS", "/a")).out)

    async def test_hostile_names(self) -> None:
        """They are escaped, except in JSON."""
        await self.client.create("/a")
        await self.client.create("/a/evil\u202e")
        self.assertEqual((await self.run_("ls", "HOSTS", "/a")).out, "evil\\u202e\n")

    async def test_links_are_followed(self) -> None:
        """A path that leads through a link is listed; one that leads nowhere is an error."""
        await self.client.ensure_path("/svc/a:80")
        await self.client.create("/live", b'{"web ->": "/svc"}')
        self.assertEqual((await self.run_("ls", "HOSTS", "/live/web")).out, "a:80\n")
        result = await self.run_("ls", "HOSTS", "/nowhere")
        self.assertEqual(result.code, Exit.FAILED)
        self.assertIn("/nowhere: the znode does not exist", result.err)

    async def test_many_nodes(self) -> None:
        """More than are read at the same time."""
        transaction = self.client.transaction()
        transaction.create("/a")
        for number in range(450):
            transaction.create(f"/a/n{number:03}")
        await transaction.commit()
        lines = (await self.run_("ls", "HOSTS", "/a")).out.splitlines()
        self.assertEqual((len(lines), lines[449]), (450, "n449"))
