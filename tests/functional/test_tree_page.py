"""docs/tree.rst, carried out: what it shows is what happens, on both servers."""

from __future__ import annotations

import ast
import inspect
import io
import os
import re
import sys
from functools import partial
from pathlib import Path
from textwrap import dedent
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from zkservice import errors
from zkservice.client import ZooKeeperClient
from zkservice.testing import EmbeddedZooKeeper
from zkservice.testing.apache import ApacheZooKeeper, skip_without_apache

ROOT = Path(errors.__file__).parent.parent
PAGE = ROOT / "docs" / "tree.rst"
SHOWN_ADDRESS = "127.0.0.1:2181"
SCRIPTS = {
    "zkservice": "zkservice.cli.main:main",
    "zookeeper_export": "zkservice.cli.zc_zk_scripts:export",
    "zookeeper_import": "zkservice.cli.zc_zk_scripts:import_",
    "zookeeper_set_property": "zkservice.cli.zc_zk_scripts:set_property",
    "zookeeper_validate": "zkservice.cli.zc_zk_scripts:validate",
}


class Block(NamedTuple):
    """Some code or commands, and what they print."""

    line: int
    kind: str
    text: str
    output: str


def blocks() -> list[Block]:
    """What the page shows, in order."""
    page = PAGE.read_text()
    found = re.compile(r"^\.\. code-block:: (\w+)\n\n((?:    .*\n|\n)+)", re.MULTILINE)
    result: list[Block] = []
    for match in found.finditer(page):
        kind, text = match[1], dedent(match[2]).strip("\n") + "\n"
        if kind == "text":
            result[-1] = result[-1]._replace(output=text)
        else:
            result.append(Block(page.count("\n", 0, match.start()) + 1, kind, text, ""))
    return result


class PageTestCase(TestCase):
    """The page on some server."""

    timeout = 300
    hosts = ""

    async def follow_the_page(self) -> None:
        """Carry out block after block, in one session."""
        self.printed = io.StringIO()
        self.names: dict[str, Any] = {"print": partial(print, file=self.printed)}
        try:
            for block in blocks():
                if block.kind == "py":
                    shown, expected = await self.run_code(block), block.output
                else:
                    shown, expected = await self.run_commands(block), block.text
                self.assertEqual(self.plain(shown), self.plain(expected), f"line {block.line}")
        finally:
            await self.names["zk"].close()

    async def run_code(self, block: Block) -> str:
        """What some code prints; ``await`` may stand anywhere in it."""
        self.printed.truncate(0)
        self.printed.seek(0)
        code = compile(
            block.text.replace(SHOWN_ADDRESS, self.hosts),
            f"{PAGE}, line {block.line}",
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        )
        await self.run_compiled(code)
        return self.printed.getvalue()

    async def run_compiled(self, code: CodeType) -> None:
        """Run what may be a coroutine, and may not."""
        result = FunctionType(code, self.names)()
        if inspect.iscoroutine(result):
            await result

    async def run_commands(self, block: Block) -> str:
        """A shell's screen: commands and what they say, all of it."""
        shown = []
        for command in re.findall(r"^\$ (.*)$", block.text, re.MULTILINE):
            shown.append(f"$ {command}\n")
            script = command.replace(SHOWN_ADDRESS, self.hosts)
            arguments = ["-c", f'PATH="$TOOLS:$PATH"; ( {script} ) 2>&1']
            environ = {**os.environ, "TOOLS": await self.tools(), "NO_COLOR": "1"}
            out, err, _ = await getProcessOutputAndValue("/bin/sh", arguments, environ)
            shown.append((out + err).decode())
        return "".join(shown)

    async def tools(self) -> str:
        """A folder with the programs, made for the interpreter that runs the tests."""
        folder = Path("tools").absolute()
        if not folder.exists():
            await deferToThread(make_tools, folder)
        return str(folder)

    def plain(self, text: str) -> str:
        """What has to be the same: not the process's id, seconds, empty lines or last blanks."""
        text = re.sub(r"\bpid(' ?:| =) \d+", r"pid\1 9999", text)
        text = re.sub(r" in \d+\.\d s$", " in 0.0 s", text, flags=re.MULTILINE)
        return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def make_tools(folder: Path) -> None:
    """Write the programs."""
    folder.mkdir()
    for name, place in SCRIPTS.items():
        module, _, function = place.partition(":")
        program = folder / name
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            f"from {module} import {function}\nsys.exit({function}())\n"
        )
        program.chmod(0o755)


class EmbeddedPageTests(PageTestCase):
    """On the server in this process."""

    async def test_the_page_shows_what_happens(self) -> None:
        """Everything happens as it is shown."""
        server = EmbeddedZooKeeper()
        await server.start()
        self.addCleanup(server.stop)
        self.hosts = server.connection_string
        await self.follow_the_page()


@skip_without_apache
class ApachePageTests(PageTestCase):
    """On the real one."""

    async def test_the_page_shows_what_happens(self) -> None:
        """Everything happens as it is shown."""
        server = ApacheZooKeeper()
        self.addCleanup(server.remove)
        await deferToThread(server.start)
        client = await ZooKeeperClient(server.connection_string).connect(timeout=60)
        await client.create("/page")
        await client.close()
        self.hosts = f"{server.connection_string}/page"
        await self.follow_the_page()


class PageTests(TestCase):
    """What is on the page."""

    def test_scripts_are_installed(self) -> None:
        """The programs are those that an installation makes."""
        scripts = (ROOT / "pyproject.toml").read_text().partition("[project.scripts]\n")[2]
        for name, place in SCRIPTS.items():
            self.assertIn(f'{name} = "{place}"\n', scripts)

    def test_every_kind_of_block_is_known(self) -> None:
        """No example is left out because of how it is marked."""
        self.assertEqual({block.kind for block in blocks()}, {"py", "console"})
        self.assertGreater(len(blocks()), 25)
        self.assertNotIn(">>>", PAGE.read_text())
