"""Tests for `zkservice.cli.main` and the scripts, as processes."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import sys
import termios
from pathlib import Path
from typing import Any

from twisted.internet import reactor  # noqa: TID251
from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue
from typing_extensions import override

from tests.treesync.base import SocketTestCase
from zkservice import errors

#: Where the package is, for other processes.
ROOT = str(Path(errors.__file__).parent.parent)


class ProcessTests(SocketTestCase):
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

    async def test_the_predecessors_scripts_give_its_output(self) -> None:
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

    async def test_unknown_characters_are_escaped(self) -> None:
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

    async def test_ctrl_c_ends_a_program_without_a_reply(self) -> None:
        """Ctrl-C while the server does not answer ends the program, with its exit code."""
        await self.client.close()  # it would connect again while the program starts
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


def unread(pipe: int) -> int:
    """Bytes in a pipe that have not been read yet."""
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
