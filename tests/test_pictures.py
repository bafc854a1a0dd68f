"""The pictures of the manual are those of their sources."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from unittest import skipUnless
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from tests.test_docs import ROOT, load_module


class PictureTests(SynchronousTestCase):
    """``docs/pictures``."""

    def setUp(self) -> None:
        """The script that draws them."""
        self.pictures = load_module(ROOT / ".ci" / "pictures.py")

    def test_each_is_of_its_source(self) -> None:
        """Whoever changes a source draws it again."""
        self.assertTrue(list(self.pictures.FOLDER.glob("*.dot")))
        self.assertEqual(self.pictures.outdated(), [], "run: python .ci/pictures.py")

    def test_each_is_well_formed(self) -> None:
        """A browser can show it, and it is in use."""
        manual = "".join(page.read_text() for page in (ROOT / "docs").glob("*.rst"))
        for picture in self.pictures.FOLDER.glob("*.svg"):
            self.assertTrue(ElementTree.parse(picture).getroot().tag.endswith("svg"))
            # Not assertIn: it would show the whole manual.
            self.assertTrue(f".. image:: pictures/{picture.name}" in manual, picture.name)

    def test_each_is_described(self) -> None:
        """Each page says in words what a picture shows."""
        for page in [ROOT / "README.rst", *(ROOT / "docs").glob("*.rst")]:
            for name, options in re.findall(r"image:: (\S+)\n((?:   .*\n)*)", page.read_text()):
                self.assertIn(":alt: ", options, (page.name, name))

    def test_each_can_be_read_in_dark_mode(self) -> None:
        """Each picture is drawn on white, whatever the page's colour."""
        for picture in self.pictures.FOLDER.glob("*.svg"):
            root = ElementTree.parse(picture).getroot()
            shapes = [one for one in root.iter() if one.tag.endswith(("}rect", "}polygon"))]
            self.assertEqual(shapes[0].get("fill"), "white", picture.name)

    def test_the_layers_are_those_that_are_checked(self) -> None:
        """The pictures of the layers show the contracts of pyproject.toml, in their order."""
        contracts = (ROOT / "pyproject.toml").read_text().split("\nlayers = [")[1:]
        for name, contract in zip(("layers.dot", "service.dot"), contracts, strict=True):
            layers = [re.findall(r"\w+", line) for line in contract.partition("]")[0].splitlines()]
            drawn = (self.pictures.FOLDER / name).read_text()
            rows = [re.findall(r"<b>(\w+)</b>", row) for row in drawn.split("<tr>")]
            self.assertEqual(list(filter(None, rows)), list(filter(None, layers)), name)

    def test_changed_source_is_noticed(self) -> None:
        """A picture of an older source, and one that is missing."""
        folder = Path(self.mktemp())
        folder.mkdir()
        source = folder / "a.dot"
        source.write_text("digraph { a -> b }")
        self.assertEqual(self.pictures.outdated(folder), ["a.dot"])
        source.with_suffix(".svg").write_text(self.pictures.mark(source) + "<svg/>")
        self.assertEqual(self.pictures.outdated(folder), [])
        source.write_text("digraph { a -> c }")
        self.assertEqual(self.pictures.outdated(folder), ["a.dot"])

    @skipUnless(shutil.which("dot"), "Graphviz is not installed")
    def test_drawing(self) -> None:
        """Graphviz draws it, below the mark."""
        source = Path(self.mktemp())
        source.write_text("digraph { a -> b }")
        drawn = self.pictures.draw(source)
        self.assertTrue(drawn.startswith(self.pictures.mark(source)))
        ElementTree.fromstring(drawn)
