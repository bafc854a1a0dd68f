"""The tutorial, typed line by line into a shell, with what it shows compared with what appears."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.functional.processes import Twistd, free_port
from zkservice import errors

TUTORIAL = Path(errors.__file__).parent.parent / "docs" / "tutorial.rst"
#: Seconds for one command, on a machine that is busy with other tests.
LIMIT = 120.0
_BLOCK = re.compile(
    r"^(?P<skip>\.\. skip-next.*\n\n)?\.\. code-block:: (?P<kind>\w+)\n"
    r"(?:   :caption: (?P<file>\S+)\n)?\n(?P<text>(?:(?:    .*)?\n)+)",
    re.MULTILINE,
)


class Shell:
    """A bash that is asked one command after the other."""

    def __init__(self, folder: str) -> None:
        bin_folder = os.path.dirname(sys.executable)
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**Twistd.environment(), "PATH": f"{bin_folder}:{os.environ['PATH']}"},
        )

    def run(self, command: str) -> str:
        """Return what a command prints."""
        assert self._process.stdin is not None and self._process.stdout is not None
        watchdog = threading.Timer(LIMIT, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(f"{command}\necho; echo END-OF-COMMAND\n")
            self._process.stdin.flush()
            lines: list[str] = []
            for line in self._process.stdout:
                if line == "END-OF-COMMAND\n":
                    return "".join(lines).removesuffix("\n")
                lines.append(line)
        finally:
            watchdog.cancel()
        raise AssertionError(f"{command}: no end within {LIMIT} s: {''.join(lines)}")

    def end(self) -> None:
        """End the shell, and what the tutorial has started if it failed half way."""
        if self._process.poll() is None:
            self.run("kill $(jobs -p) $(cat *.pid) 2>/dev/null; wait")
        self._process.communicate("exit\n" if self._process.poll() is None else None)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with the output that is shown below it."""
    lines = "\n".join(line.removeprefix("    ") for line in text.replace("\\\n", "").splitlines())
    for part in re.split(r"^\$ ", lines, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown.strip()


def pattern(shown: str) -> str:
    """Return the expression for an output in which ``...`` stands for anything."""
    return ".*".join(map(re.escape, shown.split("...")))


class TutorialTests(SynchronousTestCase):
    """What a beginner does first."""

    @override
    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.makedirs(self.folder)
        self.shell = Shell(self.folder)
        self.addCleanup(self.shell.end)

    def test_each_command_prints_what_the_tutorial_shows(self) -> None:
        """All blocks, in their order, on ports that nobody uses."""
        page = TUTORIAL.read_text()
        for port in ("2181", "9001"):
            page = page.replace(f":{port}", f":{free_port()}")
        done = 0
        for block in _BLOCK.finditer(page):
            if block["file"]:
                path = Path(self.folder, block["file"])
                path.write_text(re.sub(r"^    ", "", block["text"], flags=re.MULTILINE))
            elif not block["skip"]:
                for command, shown in commands(block["text"]):
                    printed = self.shell.run(command).strip()
                    self.assertRegex(printed, f"(?s)\\A{pattern(shown)}\\Z", command)
                    done += 1
        self.assertGreater(done, 15)
