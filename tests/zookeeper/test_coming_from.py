"""The tables for those who come from other packages: what stands on their right side works."""

from __future__ import annotations

import ast
import inspect
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import FunctionType
from typing import Any, NamedTuple

from twisted.internet import reactor  # noqa: TID251
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zkservice import client, errors, recipes, zookeeper
from zkservice.cli.parser import parse_arguments
from zkservice.client import ZooKeeperClient
from zkservice.recipes import Lock, Node, Queue, ReliableQueue
from zkservice.registry import live_children, live_data, register
from zkservice.service.options.serve_options import Options
from zkservice.service.paste import config_of
from zkservice.testing import EmbeddedZooKeeper
from zkservice.tree import resolve
from zkservice.tree.graph import get_edges, to_dot
from zkservice.wire import acl
from zkservice.zookeeper import ZooKeeper

DOCS = Path(errors.__file__).parent.parent / "docs"
PAGES = ("from_txzookeeper.rst", "from_kazoo.rst", "from_zc_zk.rst")
TEXT = "/a\n  x = 1\n"
PATH = "/p"


class Row(NamedTuple):
    """A row: what it is for, and the literals that stand for it here."""

    page: str
    what: str
    here: list[str]


def rows() -> Iterator[Row]:
    """All rows of all tables of these pages."""
    for page in PAGES:
        text = (DOCS / page).read_text()
        for table in re.findall(r"^=+  =+\n.*\n=+  =+\n((?:.*\n)+?)=+  =+\n", text, re.M):
            yield from _rows(page, table)


def _rows(page: str, table: str) -> Iterator[Row]:
    row: Row | None = None
    for line in table.splitlines():
        what, _, here = line.partition("  ")
        literals = re.findall("``(.+?)``", here)
        if what:
            if row is not None:
                yield row
            row = Row(page, what, literals)
        else:
            assert row is not None, line
            row.here.extend(literals)
    if row is not None:
        yield row


class OptionTests(SynchronousTestCase):
    """docs/migrating.rst."""

    def test_every_option_of_the_tables_exists(self) -> None:
        """Every option that stands there is one of zkserve's, and every key one of Paste's."""
        page = (DOCS / "migrating.rst").read_text()
        options = re.findall(r"``--([a-z-]+)", page)
        self.assertGreater(len(options), 5)
        known = {name.rstrip("=") for name in Options().longOpt}
        self.assertEqual([name for name in options if name not in known], [])
        keys = {"zookeeper": "zk:2181", "path": "/p", "monitor_server": "127.0.0.1:0"}
        for key in re.findall(r"key ``([a-z_]+)", page):
            config_of({**keys, key: "127.0.0.1:0" if key == "monitor_server" else ""})


class RowTests(TestCase):
    """Each row, with a server of its own."""

    timeout = 300

    def test_every_table_is_read(self) -> None:
        """No table is overlooked."""
        found = list(rows())
        self.assertEqual({row.page for row in found}, set(PAGES))
        self.assertGreater(len(found), 100)
        self.assertGreater(
            sum(self.kind(text) == "code" for row in found for text in row.here), 100
        )

    async def test_every_row_can_be_done(self) -> None:
        """What stands there can be done."""
        for row in rows():
            try:
                await self.try_row(row)
            except Exception as error:
                raise AssertionError(f"{row.page}: {row.what}: {error!r}") from error

    async def try_row(self, row: Row) -> None:
        """One row, literal by literal."""
        names: dict[str, Any] = {}
        for text in row.here:
            kind = self.kind(text)
            if kind == "module":
                namedAny(text)
            elif kind == "command":
                parse_arguments([text.partition(" ")[2], "127.0.0.1:1", PATH])
            elif kind == "code":
                names = names or await self.start()
                await self.run_code(text, names)
        if names:
            await self.stop(names)

    def kind(self, text: str) -> str:
        """What a literal is; words are not tried."""
        if text.startswith("zkservice "):
            return "command"
        if re.match(r"(zkservice|twisted|zope)[.\w]*$", text):
            return "module"
        if text.startswith("@") or re.fullmatch(r"[a-z_]+(=\w+)?|expire\(session_id\)", text):
            return "word"
        return "code"

    async def start(self) -> dict[str, Any]:
        """A server and everything that the rows take for granted."""
        server = EmbeddedZooKeeper()
        await server.start()
        self.addCleanup(server.stop)
        hosts = server.connection_string
        one = await ZooKeeperClient(hosts).connect(timeout=60)
        self.addCleanup(one.close)
        await one.create(PATH, b"{}")
        await one.create("/leaf")
        zk = ZooKeeper(one)
        await zk.register("/services", "host:1")
        lock = Lock(one, "/lock")
        queue, jobs = Queue(one, "/queue"), ReliableQueue(one, "/jobs")
        await queue.put(b"1")
        await jobs.put(b"1")
        stat, changing = one.exists_and_watch("/leaf")
        await stat
        await one.set("/leaf", b"1")
        names = {name: getattr(module, name) for module in MODULES for name in module.__all__}
        return {
            **names,
            **{name: value for name, value in vars(errors).items() if name.endswith("Error")},
            **{name: value for name, value in vars(acl).items() if not name.startswith("_")},
            **{"hosts": hosts, "client": one, "zk": zk, "server": server, "reactor": reactor},
            **{"path": PATH, "data": b"{}", "acl": acl.OPEN_ACL_UNSAFE, "version": -1},
            **{"text": TEXT, "edges": [("/a", "/b")], "seconds": 0, "members": 1, "name": "me"},
            **{"callback": lambda news: None, "function": lambda data, stat: b"2"},
            **{"stat": await one.exists("/leaf"), "event": await changing},
            **{"error": errors.ConnectionLossError(PATH), "address": "/services/host:1"},
            **{"lock": lock, "lease": await lock.acquire(), "queue": queue},
            **{"item": await jobs.get(), "node": Node(one, "/node")},
            **{"properties": await zk.properties(PATH), "view": await zk.children(PATH)},
            **{"Random": Random, "posixpath": posixpath, "deferLater": deferLater},
            **{"register": register, "resolve": resolve},
            **{"live_children": live_children, "live_data": live_data},
            **{"get_edges": get_edges, "to_dot": to_dot, "EmbeddedZooKeeper": EmbeddedZooKeeper},
            **{"print": str, "State": client.State},
        }

    async def run_code(self, text: str, names: dict[str, Any]) -> None:
        """Run it, and wait for what it is about."""
        if text in ("lease = await lock.acquire()", 'node.get_children("x")'):
            await names["lease"].release()
            await names["client"].ensure_path("/node")
        if "Barrier(client, path).wait" in text:
            await names["client"].delete(PATH)
        if "Counter(" in text:
            await names["client"].set(PATH, b"1")
        whole = f"{text} pass" if text.endswith(":") else text
        try:
            code = compile(f"result = ({whole})", text, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except SyntaxError:
            code = compile(whole, text, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = FunctionType(code, names)()
        if inspect.iscoroutine(running):
            await running
        result = names.pop("result", None)
        if isinstance(result, tuple) and isinstance(result[0], Deferred):
            await result[0]
            result[1].addErrback(lambda failure: None)
        elif isinstance(result, Deferred) and text.endswith(")"):
            result = await result
        if isinstance(result, ZooKeeper) and result is not names["zk"]:
            self.addCleanup(result.close)
        elif isinstance(result, EmbeddedZooKeeper):
            self.addCleanup(result.stop)

    async def stop(self, names: dict[str, Any]) -> None:
        """Leave nothing behind."""
        await names["zk"].close()
        await names["client"].close()
        await names["server"].stop()


MODULES: tuple[Any, ...] = (client, recipes, zookeeper)
