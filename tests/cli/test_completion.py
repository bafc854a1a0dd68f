"""Tests for `zkservice.cli.completion`."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import skipIf

from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.procutils import which

from tests.cli.base import CommandTestCase


class CompletionTests(CommandTestCase):
    """``zkservice completion``."""

    async def test_scripts_name_commands_and_options(self) -> None:
        """There is a script for each shell."""
        for shell in ("bash", "zsh", "fish"):
            result = await self.run_("completion", shell)
            for word in ("set-property", "no-trim"):
                self.assertIn(word, result.out, shell)

    @skipIf(not which("bash"), "there is no bash")
    async def test_bash_completes_commands_options_and_files(self) -> None:
        """Commands, then the options of one; where a file is expected, names of files."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "tree.txt").touch()
        script = (await self.run_("completion", "bash")).out
        for words in ("im", "import --at", f"validate {folder}/t", "completion z"):
            script += f"COMP_WORDS=(zkservice {words}) COMP_CWORD={len(words.split())}\n"
            script += "_shtab_zkservice; echo ${COMPREPLY[@]}\n"
        out, err, code = await getProcessOutputAndValue("/bin/bash", ["-c", script], os.environ)
        self.assertEqual((err, code), (b"", 0))
        self.assertEqual(
            out.decode().splitlines(), ["import", "--atomic", f"{folder}/tree.txt", "zsh"]
        )
