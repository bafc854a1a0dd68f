"""Tests for `zkservice.cli.zc_zk_scripts`."""

from __future__ import annotations

import io
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zkservice.cli import zc_zk_scripts


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
