"""Every container that lives longer than a call has a row in docs/architecture.rst."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

ROOT: Final = Path(__file__).parent.parent
#: What makes an attribute a container.
KINDS: Final = frozenset(
    ("Counter", "EarlierSessions", "OrderedDict", "SendQueue", "Waiters", "WeakKeyDictionary")
) | {"bytearray", "defaultdict", "deque", "dict", "list", "set"}
#: Tests and commands that end soon hold what they like.
SHORT_LIVED: Final = frozenset(("cli", "testing"))
_DISPLAYS: Final = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)


def containers(source: str) -> Iterator[str]:
    """``Class.attribute`` of each container that an ``__init__`` makes."""
    for cls in ast.walk(ast.parse(source)):
        if not isinstance(cls, ast.ClassDef):
            continue
        for function in cls.body:
            if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                yield from (f"{cls.name}.{name}" for name in _made(function))


def _made(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            value = getattr(node, "value", None)
            if isinstance(target, ast.Attribute) and _is_container(value):
                yield target.attr


def _is_container(value: object) -> bool:
    if isinstance(value, ast.Call):
        made = value.func
        return getattr(made, "id", getattr(made, "attr", "")) in KINDS
    return isinstance(value, _DISPLAYS)


def held() -> set[str]:
    """What the package holds."""
    found: set[str] = set()
    for path in (ROOT / "zkservice").rglob("*.py"):
        if not SHORT_LIVED.intersection(path.parts):
            found.update(containers(path.read_text()))
    return found


def stated() -> set[str]:
    """What the table has."""
    page = (ROOT / "docs" / "architecture.rst").read_text()
    section = page.partition("What is kept, and how much of it\n")[2]
    table = section.partition("\nWhere to add something\n")[0]
    return set(re.findall(r"``(_?[A-Z]\w+\.\w+)``", table))


class BoundsTests(SynchronousTestCase):
    """The table and the code."""

    def test_each_container_is_in_the_table(self) -> None:
        """What is new needs a bound, or a reason, and a row that says which."""
        self.assertEqual(sorted(held() - stated()), [])

    def test_the_table_has_nothing_else(self) -> None:
        """What has gone needs no row."""
        rows = {one for one in stated() if not one.startswith(("StreamView.most", "tests."))}
        self.assertEqual(sorted(rows - held()), [])

    def test_containers_are_found(self) -> None:
        """Displays, calls and annotated attributes are; numbers and arguments are not."""
        source = """
class A:
    def __init__(self, given):
        self.a = {}
        self.b: list[int] = []
        self.c, self.d = 1, given
        self.e = deque(maxlen=3)
        self.f = collections.Counter()
        self.g = 0
"""
        self.assertEqual(list(containers(source)), ["A.a", "A.b", "A.e", "A.f"])
