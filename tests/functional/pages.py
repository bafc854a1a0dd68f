"""Pages of the manual as a user follows them: files are saved, commands are typed into a shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.functional.processes import Twistd
from zkservice import errors

DOCS = Path(errors.__file__).parent.parent / "docs"
#: Seconds for one command, on a machine that is busy with other tests.
LIMIT = 300.0
_BLOCK = re.compile(
    r"^(?P<skip>\.\. skip-next.*\n\n)?\.\. code-block:: (?P<kind>\w+)\n"
    r"(?:   :caption: (?P<file>\S+)\n)?\n(?P<text>(?:(?:    .*)?\n)+)",
    re.MULTILINE,
)


class Shell:
    """A bash that is asked one command after the other."""

    def __init__(self, folder: str, **environ: str) -> None:
        bin_folder = os.path.dirname(sys.executable)
        path = environ.pop("PATH", os.environ["PATH"])
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**Twistd.environment(), "PATH": f"{bin_folder}:{path}", **environ},
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
        """End the shell, and what the page has started if it failed half way."""
        if self._process.poll() is None:
            self.run("kill $(jobs -p) $(cat *.pid) 2>/dev/null; wait")
        self._process.communicate("exit\n" if self._process.poll() is None else None)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with the output that is shown below it."""
    joined = re.sub(r"\\\n(    > )?", "", text)
    lines = "\n".join(line.removeprefix("    ") for line in joined.splitlines())
    for part in re.split(r"^\$ ", lines, flags=re.MULTILINE)[1:]:
        # A line that begins with the shell's second prompt goes on with the command.
        command = re.split(r"\n(?!> )", part, maxsplit=1)[0]
        yield command.replace("\n> ", "\n"), part[len(command) :].strip()


def pattern(shown: str) -> str:
    """Return the expression for an output in which ``...`` stands for anything."""
    return ".*".join(map(re.escape, shown.split("...")))


def follow(test: SynchronousTestCase, page: str, folder: str, **environ: str) -> int:
    """Save the files of a page, type its commands, and compare what they print.

    Returns:
        The number of commands.
    """
    os.makedirs(folder, exist_ok=True)
    shell = Shell(folder, **environ)
    test.addCleanup(shell.end)
    done = 0
    for block in _BLOCK.finditer(page):
        if block["skip"]:
            continue
        if block["file"]:
            path = Path(folder, block["file"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(re.sub(r"^    ", "", block["text"], flags=re.MULTILINE))
        elif block["kind"] == "console":
            for command, shown in commands(block["text"]):
                printed = shell.run(command).strip()
                test.assertRegex(printed, f"(?s)\\A{pattern(shown)}\\Z", command)
                done += 1
    return done
