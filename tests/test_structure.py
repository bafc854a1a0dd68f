"""Tests of the package's structure: the bounds that ``.ci/structure.py`` measures."""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".ci" / "structure.py"


@cache
def measure() -> dict[str, Any]:
    """The figures of the package, by name; measured once."""
    script = runpy.run_path(str(SCRIPT), run_name="structure")
    modules = script["read_modules"](ROOT / "zkservice")
    return {figure.name: figure for figure in script["figures"](modules)}


class StructureTests(SynchronousTestCase):
    """Each figure that has a bound is within it; the message names what is not."""

    if not SCRIPT.exists():
        skip = "only in a checkout"

    @override
    def setUp(self) -> None:
        self.figures = measure()

    def assert_at_most(self, bound: float, name: str) -> None:
        """A figure is no higher than this, and neither is the bound that the script prints."""
        figure = self.figures[name]
        details = "\n".join(figure.details)
        self.assertLessEqual(figure.value, bound, f"{name}:\n{details}")
        self.assertLessEqual(figure.bound, bound)

    def test_no_import_cycles(self) -> None:
        """No modules import each other, in functions and for annotations included."""
        self.assert_at_most(0, "import cycles, annotations included")

    def test_no_class_has_more_than_15_attributes(self) -> None:
        """A class that assigns more on ``self`` hides a machine that deserves a name."""
        self.assert_at_most(15, "attributes of the widest class")

    def test_at_most_5_class_names_are_used_twice(self) -> None:
        """A class name means one thing, but for words that two rooms rightly expect."""
        self.assert_at_most(5, "class names used more than once")

    def test_at_most_25_places_repeat_six_lines(self) -> None:
        """Repeated runs of six lines or more are rare."""
        self.assert_at_most(25, "places that repeat six lines")

    def test_no_function_is_longer_than_50_lines(self) -> None:
        """A function does one thing."""
        self.assert_at_most(50, "lines of the longest function")
