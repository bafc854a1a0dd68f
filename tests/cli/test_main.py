"""Tests of the command line: ``zkservice`` and the four scripts of the predecessor."""

from __future__ import annotations

import fcntl
import io
import json
import os
import signal
import struct
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import skipIf

from twisted.internet import reactor  # noqa: TID251
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.procutils import which
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.certificates import Authority
from tests.treesync.base import ServerTestCase
from tests.treesync.test_reading import wide
from zkservice import errors
from zkservice.cli import zc_zk_scripts
from zkservice.cli.completion import commands_of
from zkservice.cli.context import Context, Exit
from zkservice.cli.main import make_parser, parse_arguments, run_command
from zkservice.cli.terminal import Terminal
from zkservice.tree import format_tree, parse_tree
from zkservice.treesync import read_tree

#: Where the package is, for other processes.
ROOT = str(Path(errors.__file__).parent.parent)

TREE = "/a : t\n  x = 1\n  /b\n    /c\n/d\n  l -> /a/b\n"


class Screen(io.StringIO):
    """A stream that may claim to be a terminal."""

    tty = False

    @override
    def isatty(self) -> bool:
        return self.tty


class Result:
    """What a command said."""

    def __init__(self, code: Exit, terminal: Terminal) -> None:
        self.code = code
        self.out = terminal.stdout.getvalue()  # type: ignore[attr-defined]
        self.err = terminal.stderr.getvalue()  # type: ignore[attr-defined]


class CommandTestCase(ServerTestCase):
    """Commands, run in this process."""

    async def run_(self, *words: str, stdin: str = "", tty: bool = False, **environ: str) -> Result:
        """Run ``zkservice`` with these words; HOSTS stands for the server."""
        hosts = self.zookeeper.connection_string
        options = parse_arguments([hosts if word == "HOSTS" else word for word in words])
        streams = Screen(stdin), Screen(), Screen()
        for stream in streams:
            stream.tty = tty
        terminal = Terminal(*streams, environ=environ, json=options.json, quiet=options.quiet)
        self.context = Context(reactor, terminal, options)
        return Result(await run_command(self.context), terminal)

    def file(self, text: str) -> str:
        """A file with a text."""
        name = self.mktemp()
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)
        return str(name)


class TreeCommandTests(CommandTestCase):
    """export, import, walk, rm, ln, set-property."""

    async def test_import_and_export(self) -> None:
        """A tree goes in and comes out, from and to files and streams."""
        result = await self.run_("import", "HOSTS", stdin=TREE)
        self.assertEqual((result.code, result.out), (Exit.DONE, ""))
        self.assertRegex(result.err, r"imported <stdin> into /: 4 created in 0\.\d s\n")
        result = await self.run_("export", "HOSTS")
        self.assertEqual((result.out, result.err), (TREE, ""))
        name = self.mktemp()
        result = await self.run_("export", "HOSTS", "/a", "-o", name, "--name", "z")
        self.assertEqual((result.out, result.err), ("", f"exported 3 nodes to {name}\n"))
        with open(name) as file:
            self.assertEqual(file.read(), "/z : t\n  x = 1\n  /b\n    /c\n")
        result = await self.run_("import", "HOSTS", name, "/d")
        self.assertIn("3 created", result.err)
        result = await self.run_("walk", "HOSTS", "/d")
        self.assertEqual(result.out, "/d\n/d/z\n/d/z/b\n/d/z/b/c\n")

    async def test_again(self) -> None:
        """What is there already is not written, and the summary says so."""
        await self.run_("import", "HOSTS", stdin=TREE)
        before = await read_tree(self.client)
        result = await self.run_("import", "HOSTS", "-", stdin=TREE)
        self.assertIn("nothing to change", result.err)
        self.assertEqual(await read_tree(self.client), before)

    async def test_dry_run_and_trim(self) -> None:
        """A dry run says what would be done, in the predecessor's words; --no-trim nothing."""
        await self.run_("import", "HOSTS", stdin=TREE)
        new = "/a : t\n  x = 2\n  /n\n"
        result = await self.run_("import", "-d", "HOSTS", stdin=new)
        self.assertEqual(
            result.out, "/a x change from 1 to 2\nextra path not trimmed: /a/b\nadd /a/n\n"
        )
        self.assertIn("nothing was changed", result.err)
        result = await self.run_("import", "-dt", "HOSTS", stdin=new)
        self.assertIn("would delete /a/b/c.\nwould delete /a/b.\n", result.out)
        result = await self.run_("import", "-d", "--no-trim", "HOSTS", stdin=new)
        self.assertNotIn("/a/b", result.out)
        result = await self.run_("import", "-t", "--atomic", "HOSTS", stdin=new)
        self.assertIn("1 created, 1 changed, 2 deleted", result.err)
        self.assertEqual((await self.tree()).children["a"], parse_tree(new).children["a"])

    async def test_options_anywhere(self) -> None:
        """Options may stand before, between and behind the words."""
        name = self.file("/a\n")
        for words in (
            ("-d", "HOSTS", name, "/"),
            ("HOSTS", "-d", name, "/"),
            ("HOSTS", name, "-d", "/"),
            ("HOSTS", name, "/", "-d"),
        ):
            result = await self.run_("import", *words)
            self.assertEqual((result.code, result.out), (Exit.DONE, "add /a\n"), words)

    async def test_options_before_the_command(self) -> None:
        """A command's options may even stand before its name; others are wrong there, too."""
        for words in (
            ("-d", "import", "HOSTS", self.file("/a\n")),
            ("--timeout", "5", "-d", "import", "HOSTS", "-"),
        ):
            result = await self.run_(*words, stdin="/a\n")
            self.assertEqual((result.code, result.out), (Exit.DONE, "add /a\n"), words)
        screen = io.StringIO()
        self.patch(sys, "stderr", screen)
        self.assertRaises(SystemExit, parse_arguments, ["--trim", "walk", "h"])
        self.assertIn("zkservice walk: error: unrecognized arguments: --trim", screen.getvalue())

    def test_wrong_usage(self) -> None:
        """A wrong command line is told with the exit code 2; no command is one, too."""
        for words in ([], ["nonsense"], ["export"], ["import", "h", "-t", "--no-trim"]):
            self.patch(sys, "stderr", io.StringIO())
            error = self.assertRaises(SystemExit, parse_arguments, words)
            self.assertEqual(error.code, Exit.USAGE)

    async def test_permissions(self) -> None:
        """What everybody may do is a number, or an ACL."""
        await self.run_("import", "HOSTS", "-p", "15", stdin="/a\n")
        self.assertEqual((await self.client.get_acl("/a"))[0][0].perms, 15)
        await self.run_("import", "HOSTS", "--acl", "world:anyone:ra", stdin="/b\n")
        self.assertEqual((await self.client.get_acl("/b"))[0][0].perms, 17)

    async def test_confirmation(self) -> None:
        """On a terminal a trim is confirmed; in a script, or with --yes, it is not."""
        for answer, yes, tty, left in (
            (b"n\n", (), True, ["b"]),
            (b"", (), True, ["b"]),
            (b"YES\n", (), True, []),
            (b"", ("--yes",), True, []),
            (b"", (), False, []),
        ):
            await self.put("/a\n  /b\n")
            self.answer(answer)
            name = self.file("/a\n")
            result = await self.run_("import", "-t", *yes, "HOSTS", name, tty=tty, NO_COLOR="")
            self.assertEqual(await self.client.get_children("/a"), left, answer)
            self.assertEqual("Delete 1 node? [y/N]" in result.err, tty and not yes)
            self.assertEqual(result.code, Exit.FAILED if left else Exit.DONE)

    def answer(self, typed: bytes) -> None:
        """What the user types."""
        ours, theirs = os.pipe()
        os.write(theirs, typed)
        os.close(theirs)
        self.addCleanup(os.close, ours)
        self.patch(Screen, "fileno", lambda screen: ours)

    async def test_stopped(self) -> None:
        """Ctrl-C in the middle of an import leaves a tree, and says how much was done."""
        name = self.file(format_tree(wide(3000)))
        stopping = self.run_("import", "HOSTS", name)
        importing: Deferred[Result] = Deferred.fromCoroutine(stopping)
        while not self.context.writing:
            await deferLater(reactor, 0)
        self.context.stopping = True
        result = await importing
        self.assertEqual(result.code, Exit.STOPPED)
        self.assertRegex(result.err, r"stopped: [\d,]+ of 3,030 changes were made")
        result = await self.run_("import", "HOSTS", name)
        self.assertEqual(await self.tree(), wide(3000))

    async def test_mistakes(self) -> None:
        """Mistakes are told with file, line and column, and change nothing."""
        before = await read_tree(self.client)
        name = self.file("/good\n/bad\n  x = y\n")
        result = await self.run_("import", "HOSTS", name)
        self.assertEqual(result.code, Exit.FAILED)
        self.assertEqual(
            result.err,
            f"zkservice: {name}:3:7: y is no literal; a string needs quotes: 'x = y'\n",
        )
        self.assertEqual(await read_tree(self.client), before)
        for words, said in (
            (("import", "HOSTS", "/no/such/file"), "/no/such/file: No such file or directory"),
            (("export", "HOSTS", "/nowhere"), "/nowhere: the znode does not exist"),
            (("export", "HOSTS", "-o", "/no/such/file"), "/no/such/file: No such file"),
            (("rm", "-r", "HOSTS", "/"), "the root cannot be deleted"),
            (("ln", "HOSTS", "/x", "/nowhere/l"), "/nowhere: the znode does not exist"),
            (("export", "HOSTS", "--auth", "digest"), "must be SCHEME:file:FILE"),
        ):
            result = await self.run_(*words, stdin="/a\n")
            self.assertEqual(result.code, Exit.FAILED, words)
            self.assertIn(said, result.err)
            self.assertEqual(result.err.count("\n"), 1, result.err)
        result = await self.run_("export", "no port here:x")
        self.assertEqual(result.code, Exit.USAGE)

    async def test_latin_1(self) -> None:
        """A file that is no UTF-8 is told as such."""
        name = self.mktemp()
        with open(name, "wb") as file:
            file.write(b"/caf\xe9\n")
        result = await self.run_("validate", name)
        self.assertIn(f"{name}: byte 4 is no UTF-8", result.err)

    async def test_unreachable(self) -> None:
        """No ZooKeeper is one line, within the time-out."""
        self.zookeeper.refuse = True
        result = await self.run_("export", "HOSTS", "--timeout", "0.3")
        self.assertEqual(result.code, Exit.UNREACHABLE)
        self.assertEqual(result.err.count("\n"), 1)
        self.assertIn("Can't connect to ZooKeeper at '127.0.0.1:", result.err)

    async def test_credentials(self) -> None:
        """A credential that cannot be read, or is none, is told with its option."""
        for words, said in (
            (("--auth", "digest:/no/such"), "--auth: /no/such cannot be read"),
            (("--auth", "digest"), "--auth: 'digest': must be SCHEME:file:FILE"),
            (("--auth", f"digest:{self.file('joe')}"), "must hold one line, user:password"),
            (("--sasl", "/no/such"), "--sasl: /no/such cannot be read"),
            (("--tls-ca", "/no/such"), "--tls: /no/such cannot be read"),
        ):
            result = await self.run_("export", "HOSTS", *words)
            self.assertEqual(result.code, Exit.FAILED)
            self.assertIn(said, result.err)
            self.assertEqual(result.err.count("\n"), 1)

    async def test_no_chroot(self) -> None:
        """A chroot that is not there is named; the root below it alone would say nothing."""
        hosts = f"{self.zookeeper.connection_string}/no/such"
        for words in (("walk", hosts), ("export", hosts, "/"), ("import", hosts, self.file(TREE))):
            result = await self.run_(*words)
            self.assertEqual(result.code, Exit.FAILED)
            self.assertIn(f"the chroot of {hosts} does not exist", result.err)

    async def test_changed_meanwhile(self) -> None:
        """A node that others change meanwhile has an exit code of its own."""
        await self.put("/a\n  x = 1\n")
        await self.client.create("/a/b")
        ours, theirs = os.pipe()
        self.addCleanup(os.close, ours)
        self.patch(Screen, "fileno", lambda screen: ours)
        name = self.file("/a\n  x = 2\n")
        importing = Deferred.fromCoroutine(self.run_("import", "-t", "HOSTS", name, tty=True))
        while "Delete" not in self.context.terminal.stderr.getvalue():  # type: ignore[attr-defined]
            await deferLater(reactor, 0)
        await self.client.set("/a", b"theirs")
        os.write(theirs, b"y\n")
        os.close(theirs)
        result = await importing
        self.assertEqual(result.code, Exit.CHANGED)
        self.assertIn("/a: somebody else changed the node meanwhile", result.err)
        self.assertEqual((await self.client.get("/a"))[0], b"theirs")

    async def test_set_property(self) -> None:
        """Properties and links are set; the others stay."""
        await self.run_("import", "HOSTS", stdin=TREE)
        result = await self.run_(
            "set-property", "HOSTS", "/d/l", "n=4", "s='a = b'", "u=u'\xe9'", "m->../c", "q=>/a x"
        )
        self.assertEqual(result.err, "set m ->, n, q =>, s, u of /a/b\n")
        properties = {"n": 4, "s": "a = b", "u": "\xe9", "m ->": "../c", "q =>": "/a x"}
        self.assertEqual((await self.tree()).children["a"].children["b"].properties, properties)
        result = await self.run_("set-property", "HOSTS", "/d", "n=1", "--json")
        self.assertEqual(json.loads(result.out), {"l ->": "/a/b", "n": 1})

    async def test_bug_1_set_property_runs_no_code(self) -> None:
        """What is no literal is refused, and nothing is set."""
        await self.run_("import", "HOSTS", stdin=TREE)
        before = await read_tree(self.client)
        result = await self.run_(
            "set-property", "HOSTS", "/a", "x=2", "y=__import__('os').getpid()"
        )
        self.assertEqual(result.code, Exit.FAILED)
        self.assertIn("y=__import__('os').getpid(): code is not evaluated", result.err)
        self.assertEqual(await read_tree(self.client), before)

    async def test_rm(self) -> None:
        """One node goes; with -r, all below it."""
        await self.run_("import", "HOSTS", stdin=TREE)
        result = await self.run_("rm", "HOSTS", "/a")
        self.assertEqual((result.code, "use -r" in result.err), (Exit.FAILED, True))
        result = await self.run_("rm", "-rn", "HOSTS", "/a")
        self.assertEqual(result.out, "would delete /a/b/c.\nwould delete /a/b.\nwould delete /a.\n")
        await self.client.create("/a/b/e", ephemeral=True)
        result = await self.run_("rm", "-r", "HOSTS", "/a")
        self.assertEqual(result.code, Exit.FAILED)
        self.assertIn("Not deleting /a/b/e because it's ephemeral.\n", result.out)
        self.assertTrue(result.err.startswith("kept /a: 1 deleted, 3 kept"), result.err)
        result = await self.run_("rm", "-r", "--force", "HOSTS", "/a")
        self.assertEqual(result.code, Exit.DONE)
        result = await self.run_("rm", "HOSTS", "/d")
        self.assertEqual((await self.run_("walk", "HOSTS")).out, "/\n")

    async def test_rm_asks(self) -> None:
        """On a terminal ``rm -r`` is confirmed, as a trim is; ``-rf`` is ``-r --force``."""
        for answer, words, tty, left in (
            (b"n\n", ("-r",), True, True),
            (b"y\n", ("-rf",), True, False),
            (b"", ("-r", "--yes"), True, False),
            (b"", ("-rf",), False, False),
        ):
            await self.put("/a\n  /b\n")
            self.answer(answer)
            result = await self.run_("rm", *words, "HOSTS", "/a", tty=tty, NO_COLOR="")
            self.assertEqual(await self.client.exists("/a") is not None, left, words)
            self.assertEqual("Delete 2 nodes? [y/N]" in result.err, bool(answer))
            self.assertEqual(result.code, Exit.FAILED if left else Exit.DONE)

    async def test_rm_of_the_root(self) -> None:
        """It cannot be deleted, and the message says no more than that."""
        result = await self.run_("rm", "-r", "HOSTS", "/")
        self.assertEqual(result.code, Exit.FAILED)
        self.assertIn("zkservice: the root cannot be deleted", result.err)

    async def test_import_into_a_new_node(self) -> None:
        """Missing nodes above the tree are made; a dry run names them."""
        await self.client.create("/top")
        words = ("import", "HOSTS", "-", "/top/new/er")
        result = await self.run_(*words, "-d", stdin="/a\n  x = 1\n")
        self.assertEqual(result.code, Exit.DONE)
        self.assertTrue(result.out.startswith("add /top/new\n"), result.out)
        self.assertEqual(await self.client.get_children("/top"), [])
        for trim in ((), ("-t", "--yes"), ("--atomic",)):
            await self.run_("rm", "-r", "--yes", "HOSTS", "/top/new")
            await self.client.ensure_path("/top/other")
            result = await self.run_(*words, *trim, stdin="/a\n  x = 1\n")
            self.assertEqual(result.code, Exit.DONE, result.err)
            self.assertEqual((await self.client.get("/top/new/er/a"))[0], b'{"x":1}')
            self.assertEqual(sorted(await self.client.get_children("/top")), ["new", "other"])

    async def test_ln_to_nowhere(self) -> None:
        """The link is made, as the target may come later, and a warning says that it is missing."""
        await self.run_("import", "HOSTS", stdin=TREE)
        result = await self.run_("ln", "-q", "HOSTS", "/missing", "/a/m")
        self.assertEqual(result.code, Exit.DONE)
        self.assertIn("warning: /a/m leads nowhere: /missing does not exist", result.err)
        result = await self.run_("ln", "--json", "HOSTS", "/a/m", "/a/n")
        self.assertIn("warning: /a/n leads nowhere: /a/m does not exist", result.err)
        self.assertEqual(json.loads(result.out), {"source": "/a/n", "target": "/a/m"})

    async def test_ln(self) -> None:
        """Links are made."""
        await self.run_("import", "HOSTS", stdin=TREE)
        result = await self.run_("ln", "HOSTS", "../d", "/a/m")
        self.assertEqual(result.err, "/a/m -> ../d\n")
        self.assertIn("  m -> ../d\n", (await self.run_("export", "HOSTS")).out)
        result = await self.run_("ln", "HOSTS", "/a/b/c", "/d/")
        self.assertEqual(result.err, "/d/c -> /a/b/c\n")
        result = await self.run_("ln", "--json", "HOSTS", "../d", "/a/n")
        self.assertEqual(json.loads(result.out), {"source": "/a/n", "target": "../d"})
        self.assertEqual(result.err, "")

    async def test_json(self) -> None:
        """Programs get JSON."""
        await self.run_("import", "HOSTS", stdin=TREE)
        result = await self.run_("export", "--json", "HOSTS", "/a")
        self.assertEqual(
            json.loads(result.out),
            {"/": {}, "/a": {"type": "t", "x": 1}, "/a/b": {}, "/a/b/c": {}},
        )
        result = await self.run_("walk", "--json", "HOSTS", "/d")
        self.assertEqual(json.loads(result.out), ["/d"])
        result = await self.run_("import", "--json", "-dt", "HOSTS", stdin="/a\n")
        told = json.loads(result.out)
        self.assertEqual(told["total"], 3)
        self.assertEqual(told["changes"][0]["new"], {})
        self.assertEqual(told["changes"][1], {"change": "delete", "path": "/a/b/c"})

    async def test_hosts_from_the_environment(self) -> None:
        """A dash stands for the environment's connection string."""
        hosts = self.zookeeper.connection_string
        result = await self.run_("walk", "-", ZC_ZK_CONNECTION_STRING=hosts)
        self.assertEqual(result.out, "/\n")
        result = await self.run_("graph", "-", "/", ZC_ZK_CONNECTION_STRING=hosts)
        self.assertEqual(result.out, "digraph g {\n}\n")

    async def test_colours(self) -> None:
        """Colours are for terminals of people who want them."""
        await self.run_("import", "HOSTS", stdin="/a\n  /b\n")
        words = ("import", "-dt", "--yes", "HOSTS", "-")
        result = await self.run_(*words, stdin="/a\n  /n\n", tty=True)
        self.assertIn("\x1b[31mwould delete /a/b.\x1b[0m\n\x1b[32madd /a/n\x1b[0m\n", result.out)
        await self.put("/a\n  remove = 1\n  y = 1\n")
        changes = "/a\n  remove = 2\n  z = 1\n"
        result = await self.run_(*words, stdin=changes, tty=True)
        self.assertEqual(
            result.out,
            "/a remove change from 1 to 2\n"
            "\x1b[31m/a remove property y = 1\x1b[0m\n\x1b[32m/a add property z = 1\x1b[0m\n",
        )
        for options in ({"tty": True, "NO_COLOR": "1"}, {"tty": False}):
            result = await self.run_(*words, stdin="/a\n  /n\n", **options)
            self.assertNotIn("\x1b", result.out)


class TLSTests(CommandTestCase):
    """A server behind TLS, whose certificate is for a name that nobody can look up."""

    async def listen(self) -> str:
        """Open a port with TLS; answers the server's address."""
        self.authority = Authority(self.mktemp())
        certificate = self.authority.issue("zookeeper.invalid")
        endpoint = serverFromString(
            reactor, f"ssl:0:interface=127.0.0.1:privateKey={quoteStringArgument(certificate)}"
        )
        port: Any = await endpoint.listen(self.zookeeper.server.factory)
        self.addCleanup(port.stopListening)
        return f"127.0.0.1:{port.getHost().port}"

    async def test_server_name(self) -> None:
        """The name in the certificate can be given; without it, the reason says so."""
        words = ("walk", await self.listen(), "--tls-ca", self.authority.ca)
        result = await self.run_(*words, "--tls-server-name", "zookeeper.invalid")
        self.assertEqual((result.code, result.out), (Exit.DONE, "/\n"), result.err)
        result = await self.run_(*words, "--timeout", "1")
        self.assertEqual(result.code, Exit.UNREACHABLE)
        self.assertIn("its certificate is not for 127.0.0.1", result.err)


class ValidateTests(CommandTestCase):
    """validate."""

    async def test_good(self) -> None:
        """A good tree is counted."""
        result = await self.run_("validate", stdin=TREE)
        self.assertEqual((result.code, result.err), (Exit.DONE, "<stdin>: 4 nodes, no mistakes\n"))

    async def test_bad(self) -> None:
        """A bad one is told with line and column."""
        result = await self.run_("validate", "-", stdin="/a\n  /b\n /c\n")
        self.assertEqual(result.code, Exit.FAILED)
        self.assertTrue(result.err.startswith("zkservice: <stdin>:3:2: Invalid indentation"))

    async def test_place(self) -> None:
        """Loops are found where the tree is going to be."""
        text = "/a\n  l -> /x/a/l\n"
        result = await self.run_("validate", stdin=text)
        self.assertEqual(result.err, "<stdin>: 1 node, no mistakes\n")
        result = await self.run_("validate", "--at", "/x", stdin=text)
        self.assertEqual(result.code, Exit.DONE)
        self.assertEqual(
            result.err,
            "zkservice: <stdin>:2:3: warning: the links form a loop: /x/a/l -> /x/a/l: "
            "'l -> /x/a/l'\n<stdin>: 1 node, 1 warning\n",
        )
        result = await self.run_("validate", "--json", "--at", "/x", stdin=text)
        (warning,) = json.loads(result.out)["warnings"]
        self.assertTrue(warning.startswith("<stdin>:2:3: warning: "), warning)

    async def test_no_place(self) -> None:
        """A place that cannot be is told."""
        result = await self.run_("validate", "--at", "x", stdin=TREE)
        self.assertEqual(result.code, Exit.FAILED)
        self.assertIn("'x' is no znode path", result.err)


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

    def test_nothing(self) -> None:
        """Who says nothing is shown what can be said."""
        shown = self.refused()
        self.assertIn("COMMAND", shown)
        self.assertIn("write a tree as text", shown)

    def test_help(self) -> None:
        """``help`` is what newcomers type first; it explains all commands, or one."""
        for words, expected in ((("help",), "zkservice COMMAND --help"), (("help", "rm"), "--yes")):
            shown = io.StringIO()
            self.patch(sys, "stdout", shown)
            with self.assertRaises(SystemExit) as caught:
                parse_arguments(words)
            self.assertEqual(caught.exception.code, Exit.DONE)
            self.assertIn(expected, shown.getvalue())
        self.assertIn("invalid choice: 'nothing'", self.refused("help", "nothing"))

    def test_times(self) -> None:
        """A time is a number of seconds above zero, or milliseconds."""
        for word in ("-1", "0", "nan", "inf", "soon"):
            said = self.refused("export", "h:1", f"--timeout={word}")
            self.assertIn(f"--timeout: seconds above zero, not {word!r}", said)
        for word in ("-1", "0", "1.5", "99999999999"):
            said = self.refused("export", "h:1", f"--session-timeout={word}")
            self.assertIn(f"--session-timeout: milliseconds, 1 to 2147483647, not {word!r}", said)

    def test_permissions(self) -> None:
        """Permissions are a number of five bits."""
        for word in ("0", "32", "-1", "rw"):
            said = self.refused("import", "h:1", f"--permission={word}")
            self.assertIn("--permission: 1 to 31, the sum of", said)
            self.assertIn(repr(word), said)

    def test_missing_words(self) -> None:
        """Only what is missing is asked for."""
        self.assertIn("the following arguments are required: ADDR\n", self.refused("ask"))

    def test_words_are_explained(self) -> None:
        """The help of each command says what each of its words is."""
        parser = make_parser()
        for name, command in commands_of(parser).items():
            for action in command._actions:
                if action.metavar != "":
                    self.assertTrue(action.help, f"{name} {action.dest}")


class GraphTests(CommandTestCase):
    """graph."""

    TREE = "/a\n  /providers\n/b\n  uses -> /a/providers\n"

    async def test_text(self) -> None:
        """A file's or a server's graph, as text."""
        dot = 'digraph g {\n  "/b" -> "/a";\n}\n'
        self.assertEqual((await self.run_("graph", stdin=self.TREE)).out, dot)
        self.assertEqual((await self.run_("graph", self.file(self.TREE))).out, dot)
        result = await self.run_("graph", "HOSTS")
        self.assertEqual(result.code, Exit.FAILED)
        self.assertIn("there is no such file; for a server add a path", result.err)
        await self.put(self.TREE)
        self.assertEqual((await self.run_("graph", "HOSTS", "/")).out, dot)
        name = self.mktemp() + ".dot"
        await self.run_("graph", "HOSTS", "/", "-o", name)
        with open(name) as file:
            self.assertEqual(file.read(), dot)
        result = await self.run_("graph", "--json", stdin=self.TREE)
        self.assertEqual(json.loads(result.out), [["/b", "/a"]])

    @skipIf(not which("dot"), "Graphviz is not installed")
    async def test_picture(self) -> None:
        """Graphviz draws."""
        name = self.mktemp() + ".svg"
        result = await self.run_("graph", "-o", name, stdin=self.TREE, PATH=os.environ["PATH"])
        self.assertEqual(result.err, f"drew 1 link to {name}\n")
        with open(name) as file:
            self.assertIn("</svg>", file.read())

    async def test_no_graphviz(self) -> None:
        """Without Graphviz the user is told what to do."""
        result = await self.run_("graph", "-o", "x.svg", stdin=self.TREE, PATH="/nowhere")
        self.assertEqual(result.code, Exit.FAILED)
        self.assertIn("with -o FILE.dot", result.err)


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

    async def test_addresses(self) -> None:
        """The addresses of a service are shown; none is a failure."""
        monitor = self.listen("1.2.3.4:5 1.2.3.4:6")
        result = await self.run_("get-addr", monitor, "/svc")
        self.assertEqual((result.code, result.out), (Exit.DONE, "1.2.3.4:5 1.2.3.4:6\n"))
        self.assertEqual(self.asked, [b"servers /svc\n"])
        result = await self.run_("get-addr", self.listen("", help="help  this"), "/svc")
        self.assertEqual((result.code, result.out), (Exit.FAILED, ""))
        self.assertIn("nothing is registered under /svc", result.err)

    async def test_check(self) -> None:
        """A service that listens is well; one that does not, or is not there, is not."""
        good = self.zookeeper.connection_string
        result = await self.run_("check", self.listen(good), "/svc")
        self.assertEqual((result.code, result.out, result.err), (Exit.DONE, "", ""))
        result = await self.run_("check", self.listen(f"{good} 127.0.0.1:1"), "/svc")
        self.assertEqual(result.code, Exit.FAILED)
        self.assertIn("127.0.0.1:1 does not accept connections", result.err)
        result = await self.run_("check", self.listen("", help="help  this"), "/svc")
        self.assertIn("nothing is registered under /svc", result.err)

    async def test_ask(self) -> None:
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
            self.assertIn(f"what listens at {address} is no monitor; it ", result.err)
            self.assertEqual(result.err.count("\n"), 1)

    async def test_empty_reply(self) -> None:
        """A monitor may have nothing to say; its help shows that it is one."""
        result = await self.run_("ask", self.listen("", help="help  this"), "servers", "/nope")
        self.assertEqual((result.code, result.out, result.err), (Exit.DONE, "", ""))

    async def test_check_tells_a_person(self) -> None:
        """On a terminal success is said, with ``--json`` it is a value."""
        good = self.zookeeper.connection_string
        result = await self.run_("check", self.listen(good), "/svc", tty=True, NO_COLOR="")
        self.assertEqual(result.err, f"{good} is registered and accepts connections\n")
        result = await self.run_("check", "--json", self.listen(f"{good} 127.0.0.1:1"), "svc/")
        self.assertEqual(json.loads(result.out), {good: True, "127.0.0.1:1": False})
        self.assertEqual((result.code, self.asked), (Exit.FAILED, [b"servers /svc\n"]))

    async def test_ask_nothing(self) -> None:
        """Who asks nothing is told what can be asked."""
        result = await self.run_("ask", self.listen("out  Deregister\n in  Register"))
        self.assertEqual((result.code, result.out), (Exit.DONE, "out  Deregister\n in  Register\n"))
        self.assertEqual(self.asked, [b"help\n"])
        result = await self.run_("ask", self.listen("two\nlines"), "--json")
        self.assertEqual(json.loads(result.out), "two\nlines")

    async def test_no_answer(self) -> None:
        """A monitor that keeps a command to itself costs the time-out, and no more."""
        factory: Any = Factory.forProtocol(Protocol)
        server: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(server.stopListening)
        address = f"127.0.0.1:{server.getHost().port}"
        result = await self.run_("ask", address, "interactive", "--timeout", "0.1")
        self.assertEqual(result.code, Exit.FAILED)
        self.assertIn("no answer in time", result.err)

    async def test_no_name(self) -> None:
        """A name that nobody knows is told in a line, of the monitor and of the service."""
        nobody = "no-such-host.invalid:80"
        result = await self.run_("get-addr", nobody, "/svc")
        self.assertEqual((result.code, result.err.count("\n")), (Exit.FAILED, 1))
        self.assertIn(f"there is no monitor at {nobody}: DNS lookup failed", result.err)
        result = await self.run_("check", self.listen(nobody), "/svc")
        self.assertEqual((result.code, result.err.count("\n")), (Exit.FAILED, 1))
        self.assertIn(f"{nobody} does not accept connections: DNS lookup failed", result.err)

    async def test_other_server(self) -> None:
        """What answers something else is no monitor, and what it says no address."""
        for answer in ("HTTP/1.1 400 Bad Request\r\n\r\nno", "a:1 b"):
            address = self.listen(answer)
            for command in ("get-addr", "check"):
                result = await self.run_(command, address, "/svc")
                self.assertEqual((result.code, result.out), (Exit.FAILED, ""))
                self.assertIn(f"{address} is no monitor; it answers", result.err)
                self.assertEqual(result.err.count("\n"), 1)

    async def test_no_monitor(self) -> None:
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


class CompletionTests(CommandTestCase):
    """completion."""

    async def test_scripts(self) -> None:
        """Scripts name the commands and their options."""
        for shell in ("bash", "zsh", "fish"):
            result = await self.run_("completion", shell)
            for word in ("set-property", "no-trim"):
                self.assertIn(word, result.out)

    @skipIf(not which("bash"), "there is no bash")
    async def test_bash_reads_it(self) -> None:
        """Bash completes with it."""
        script = (await self.run_("completion", "bash")).out
        script += "COMP_WORDS=(zkservice im) COMP_CWORD=1; _zkservice; echo ${COMPREPLY[@]}\n"
        script += "COMP_WORDS=(zkservice import --at) COMP_CWORD=2; _zkservice\n"
        script += "echo ${COMPREPLY[@]}\n"
        out, err, code = await getProcessOutputAndValue("/bin/bash", ["-c", script], os.environ)
        self.assertEqual((out, err, code), (b"import\n--atomic\n", b"", 0))


class ProgressTests(SynchronousTestCase):
    """The progress bar."""

    def bar(self, *, tty: bool, quiet: bool = False) -> str:
        """What a bar shows while time passes."""
        err, now = Screen(), 0.0
        err.tty = tty
        terminal = Terminal(Screen(), Screen(), err, {}, lambda: now, quiet=quiet)
        with terminal.progress("importing") as progress:
            for _ in range(10):
                now += 0.2
                progress(int(now * 1000), 2000)
        return err.getvalue()

    def test_terminal(self) -> None:
        """A bar appears after a moment, moves, and goes away."""
        shown = self.bar(tty=True)
        self.assertTrue(shown.startswith("\r\x1b[Kimporting [######"), shown)
        self.assertIn("1,000 of 2,000, 1,000/s", shown)
        self.assertTrue(shown.endswith("\r\x1b[K"))

    def test_pipe(self) -> None:
        """There is none in a pipe, and none for those who want quiet."""
        self.assertEqual(self.bar(tty=False), "")
        self.assertEqual(self.bar(tty=True, quiet=True), "")


class ScriptTests(SynchronousTestCase):
    """The predecessor's scripts, as far as they need no server."""

    def run_(self, script: Any, *words: str) -> str:
        """What a script complains of."""
        err = io.StringIO()
        self.patch(sys, "stderr", err)
        self.assertRaises(SystemExit, script, list(words))
        return err.getvalue()

    def test_bug_16_export_without_arguments(self) -> None:
        """Scripts without arguments say what they want."""
        for script in (zc_zk_scripts.export, zc_zk_scripts.import_):
            self.assertIn("the following arguments are required: connection", self.run_(script))


class ProcessTests(ServerTestCase):
    """The programs, as processes."""

    async def run_(self, program: str, *words: str, stdin: bytes = b"") -> tuple[bytes, bytes, int]:
        """Run a program of ``pyproject.toml`` by what stands behind its name there."""
        module, _, function = program.partition(":")
        code = f"import sys; from {module} import {function}; sys.exit({function}())"
        environ = {**os.environ, "PYTHONPATH": ROOT}
        out, err, exit_code = await getProcessOutputAndValue(
            sys.executable, ["-c", code, *words], environ, stdinBytes=stdin
        )
        return out, err, exit_code

    async def test_scripts(self) -> None:
        """The predecessor's scripts take its arguments and give its output."""
        scripts, hosts = "zkservice.cli.zc_zk_scripts", self.zookeeper.connection_string
        result = await self.run_(f"{scripts}:import_", hosts, stdin=b"/x\n  /z\n/y\n")
        self.assertEqual(result, (b"", b"", 0))
        result = await self.run_(f"{scripts}:import_", "-dt", hosts, "-", "/x", stdin=b"/w\n")
        self.assertEqual(result, (b"add /x/w\n", b"", 0))
        result = await self.run_(f"{scripts}:set_property", hosts, "/x", "a=1", "b='two'")
        self.assertEqual(result, (b"", b"", 0))
        result = await self.run_(f"{scripts}:export", "-e", hosts, "/x")
        self.assertEqual(result, (b"/x\n  a = 1\n  b = 'two'\n  /z\n", b"", 0))

    async def test_poor_terminal(self) -> None:
        """Characters that a terminal does not know, and bytes that are none, are escaped."""
        await self.client.create("/a", '{"x":"\xe9"}'.encode())
        await self.client.create("/b", b"\xff")
        self.patch(os, "environ", {**os.environ, "PYTHONIOENCODING": "ascii"})
        hosts = self.zookeeper.connection_string
        result = await self.run_("zkservice.cli.main:main", "export", hosts)
        text = b"/a\n  x = '\\xe9'\n/b\n  string_value = '\\udcff'\n"
        self.assertEqual(result, (text, b"", 0))
        result = await self.run_("zkservice.cli.main:main", "import", hosts, stdin=text)
        self.assertIn(b"nothing to change", result[1])

    async def test_bug_16_validate_reads_standard_input(self) -> None:
        """Without a file standard input is read; a mistake is exit code 1."""
        script = "zkservice.cli.zc_zk_scripts:validate"
        self.assertEqual(await self.run_(script, stdin=b"/a\n"), (b"", b"", 0))
        out, err, code = await self.run_(script, stdin=b"/a\n  b = c\n")
        self.assertEqual((out, code), (b"", 1))
        self.assertTrue(err.startswith(b"zookeeper_validate: <stdin>:2:7: "), err)

    async def test_interrupted(self) -> None:
        """Ctrl-C while the server does not answer ends the program, with its exit code."""
        self.zookeeper.pause()
        others = self.zookeeper.statistics().connections
        running = self.spawn("export", self.zookeeper.connection_string)
        await self.until(lambda: self.zookeeper.statistics().connections > others)
        os.kill(running.pid, signal.SIGINT)
        code = await running.ended
        self.zookeeper.resume()
        self.assertEqual((code, running.err), (130, b"stopped\n"))

    async def test_interrupted_while_reading(self) -> None:
        """Ctrl-C while standard input is read ends the program, too."""
        running = self.spawn("validate")
        os.write(self.typed, b"# a tree\n")
        await self.until(lambda: unread(self.stdin) == 0)
        os.kill(running.pid, signal.SIGINT)
        self.assertEqual((await running.ended, running.err), (130, b"stopped\n"))

    def spawn(self, *words: str) -> Running:
        """Start ``zkservice``; its standard input stays open."""
        self.stdin, self.typed = os.pipe()
        self.addCleanup(os.close, self.stdin)
        self.addCleanup(os.close, self.typed)
        return Running(self.stdin, ["-m", "zkservice.cli.main", *words])

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, ten seconds at most."""
        for _ in range(1000):
            if condition():
                return
            await deferLater(reactor, 0.01)
        self.fail("it did not happen")


def unread(pipe: int) -> int:
    """Bytes in a pipe that nobody has read yet."""
    return int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0])


class Running:
    """A process, watched by the reactor."""

    def __init__(self, stdin: int, words: list[str]) -> None:
        from twisted.internet.protocol import ProcessProtocol

        self.err = b""
        self.ended: Deferred[int] = Deferred()
        outer = self

        class Watch(ProcessProtocol):
            @override
            def errReceived(self, data: bytes) -> None:
                outer.err += data

            @override
            def processEnded(self, reason: Any) -> None:
                outer.ended.callback(reason.value.exitCode)

        process: Any = reactor.spawnProcess(
            Watch(),
            sys.executable,
            [sys.executable, *words],
            {**os.environ, "PYTHONPATH": ROOT},
            childFDs={0: stdin, 1: "r", 2: "r"},
        )
        self.pid: int = process.pid
