"""Tests for `zkservice.cli.tree_commands`, with a real server."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any

from twisted.internet import reactor  # noqa: TID251
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.task import deferLater

from tests.certificates import Authority
from tests.cli.base import TREE, CommandTestCase, Result, Screen
from tests.treesync.test_reading import wide
from zkservice.cli.context import Exit
from zkservice.cli.parser import parse_arguments
from zkservice.tree import format_tree, parse_tree
from zkservice.treesync import read_tree


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

    async def test_a_repeated_import_writes_nothing(self) -> None:
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

    async def test_options_may_stand_anywhere(self) -> None:
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

    def test_wrong_usage_exits_with_2(self) -> None:
        """An invalid command line exits with code 2, and so does an empty one."""
        for words in ([], ["nonsense"], ["export"], ["import", "h", "-t", "--no-trim"]):
            self.patch(sys, "stderr", io.StringIO())
            error = self.assertRaises(SystemExit, parse_arguments, words)
            self.assertEqual(error.code, Exit.USAGE)

    async def test_permissions_are_a_number_or_an_acl(self) -> None:
        """``-p`` takes a number for world:anyone, ``--acl`` takes an ACL."""
        await self.run_("import", "HOSTS", "-p", "15", stdin="/a\n")
        self.assertEqual((await self.client.get_acl("/a"))[0][0].perms, 15)
        await self.run_("import", "HOSTS", "--acl", "world:anyone:ra", stdin="/b\n")
        self.assertEqual((await self.client.get_acl("/b"))[0][0].perms, 17)

    async def test_a_trim_is_confirmed_on_a_terminal_only(self) -> None:
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

    async def test_ctrl_c_stops_between_two_changes(self) -> None:
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

    async def test_mistakes_change_nothing(self) -> None:
        """Mistakes are reported with file, line and column, and change nothing."""
        before = await read_tree(self.client)
        name = self.file("/good\n/bad\n  x = y\n")
        result = await self.run_("import", "HOSTS", name)
        self.assertEqual(result.code, Exit.FAILED)
        self.assertEqual(
            result.err,
            f"zkservice: {name}:3:7: y is not a literal; a string needs quotes: 'x = y'\n",
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

    async def test_a_file_must_be_utf_8(self) -> None:
        """A file that is not UTF-8 is reported as such."""
        name = self.mktemp()
        with open(name, "wb") as file:
            file.write(b"/caf\xe9\n")
        result = await self.run_("validate", name)
        self.assertIn(f"{name}: byte 4 is not UTF-8", result.err)

    async def test_no_zookeeper_is_one_line(self) -> None:
        """No ZooKeeper is one line, within the time-out."""
        self.zookeeper.refuse = True
        result = await self.run_("export", "HOSTS", "--timeout", "0.3")
        self.assertEqual(result.code, Exit.UNREACHABLE)
        self.assertEqual(result.err.count("\n"), 1)
        self.assertIn("Can't connect to ZooKeeper at '127.0.0.1:", result.err)

    async def test_unreadable_credentials_are_reported_with_their_option(self) -> None:
        """An unreadable or invalid credential is reported with its option."""
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

    async def test_a_missing_chroot_is_named(self) -> None:
        """A chroot that is not there is named; the root below it alone would say nothing."""
        hosts = f"{self.zookeeper.connection_string}/no/such"
        for words in (("walk", hosts), ("export", hosts, "/"), ("import", hosts, self.file(TREE))):
            result = await self.run_(*words)
            self.assertEqual(result.code, Exit.FAILED)
            self.assertIn(f"the chroot of {hosts} does not exist", result.err)

    async def test_a_concurrent_change_has_its_own_exit_code(self) -> None:
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
        self.assertIn("/a: another client changed the node meanwhile", result.err)
        self.assertEqual((await self.client.get("/a"))[0], b"theirs")

    async def test_set_property_keeps_the_other_properties(self) -> None:
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
        """A value that is not a literal is refused, and nothing is set."""
        await self.run_("import", "HOSTS", stdin=TREE)
        before = await read_tree(self.client)
        result = await self.run_(
            "set-property", "HOSTS", "/a", "x=2", "y=__import__('os').getpid()"
        )
        self.assertEqual(result.code, Exit.FAILED)
        self.assertIn("y=__import__('os').getpid(): code is not evaluated", result.err)
        self.assertEqual(await read_tree(self.client), before)

    async def test_rm_deletes_one_node_or_all_below_it(self) -> None:
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

    async def test_rm_r_is_confirmed_on_a_terminal(self) -> None:
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

    async def test_ln_makes_links(self) -> None:
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

    async def test_json_is_written_for_programs(self) -> None:
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

    async def test_colours_are_for_terminals_only(self) -> None:
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
    """A server behind TLS, whose certificate is for a name that does not resolve."""

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

    async def test_the_name_in_the_certificate_can_be_given(self) -> None:
        """The name in the certificate can be given; without it, the reason says so."""
        words = ("walk", await self.listen(), "--tls-ca", self.authority.ca)
        result = await self.run_(*words, "--tls-server-name", "zookeeper.invalid")
        self.assertEqual((result.code, result.out), (Exit.DONE, "/\n"), result.err)
        result = await self.run_(*words, "--timeout", "1")
        self.assertEqual(result.code, Exit.UNREACHABLE)
        self.assertIn("its certificate is not for 127.0.0.1", result.err)


class ValidateTests(CommandTestCase):
    """validate."""

    async def test_a_good_tree_is_counted(self) -> None:
        """A good tree is counted."""
        result = await self.run_("validate", stdin=TREE)
        self.assertEqual((result.code, result.err), (Exit.DONE, "<stdin>: 4 nodes, no mistakes\n"))

    async def test_a_bad_tree_is_refused_with_its_place(self) -> None:
        """A mistake is reported with line and column."""
        result = await self.run_("validate", "-", stdin="/a\n  /b\n /c\n")
        self.assertEqual(result.code, Exit.FAILED)
        self.assertTrue(result.err.startswith("zkservice: <stdin>:3:2: Invalid indentation"))

    async def test_loops_are_found_where_the_tree_will_be(self) -> None:
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

    async def test_the_place_must_be_a_path(self) -> None:
        """An invalid place is reported."""
        result = await self.run_("validate", "--at", "x", stdin=TREE)
        self.assertEqual(result.code, Exit.FAILED)
        self.assertIn("'x' is not a valid znode path", result.err)
