"""Tests of docs/troubleshooting.rst: it explains every warning and error that is logged."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

from twisted.trial.unittest import SynchronousTestCase

from zkservice import errors

PACKAGE = Path(errors.__file__).parent
PAGE = PACKAGE.parent / "docs" / "troubleshooting.rst"
#: Methods of a logger that log at warning or above, or at a level that is known only later.
METHODS = {"warn", "warning", "error", "critical", "failure", "emit"}
#: The records of others, which are passed on: the application's, and a worker's in its parent.
PASSED_ON = {"{message}", "form"}


def logged_formats() -> Iterator[str]:
    """The format of each record that the package logs at warning or above."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            name, holder = node.func.attr, ast.unparse(node.func.value).lower()
            if name in METHODS and "log" in holder:
                written = node.args[1 if name == "emit" else 0]
                text = written.value if isinstance(written, ast.Constant) else ast.unparse(written)
                yield str(text)


def pattern(form: str) -> str:
    """A regular expression for a format as the page shows it: fields are words in capitals."""
    parts = Formatter().parse(form)
    return "".join(
        re.escape(" ".join(re.split("[\n\t]", text))) + ("[A-Z]+" if field is not None else "")
        for text, field, _, _ in parts
    )


class TroubleshootingTests(SynchronousTestCase):
    """The page against the source."""

    maxDiff = None  # the whole list is what helps

    def setUp(self) -> None:
        """Read both."""
        self.explained = set(re.findall(r"^   \* - ``(.+)``$", PAGE.read_text(), re.MULTILINE))
        self.logged = set(logged_formats()) - PASSED_ON

    def test_every_message_is_explained(self) -> None:
        """What can be logged at warning or above is in a table of the page."""
        self.assertGreater(len(self.logged), 100)
        missing = [
            form
            for form in sorted(self.logged)
            if not any(re.fullmatch(pattern(form), text) for text in self.explained)
        ]
        self.assertEqual(missing, [], "explain these in docs/troubleshooting.rst")

    def test_every_explained_message_exists(self) -> None:
        """A message that was changed or removed is not explained any longer."""
        patterns = list(map(pattern, self.logged))
        stale = [
            text
            for text in sorted(self.explained)
            if not any(re.fullmatch(each, text) for each in patterns)
        ]
        self.assertEqual(stale, [], "no code logs these")
