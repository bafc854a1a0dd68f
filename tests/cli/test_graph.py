"""Tests for `zkservice.cli.graph`."""

from __future__ import annotations

import json
import os
from unittest import skipIf

from twisted.python.procutils import which

from tests.cli.base import CommandTestCase
from zkservice.cli.context import Exit


class GraphTests(CommandTestCase):
    """graph."""

    TREE = "/a\n  /providers\n/b\n  uses -> /a/providers\n"

    async def test_graph_of_a_file_or_a_server_as_text(self) -> None:
        """A file's or a server's graph, as text."""
        dot = 'digraph g {\n  "/b" -> "/a";\n}\n'
        self.assertEqual((await self.run_("graph", stdin=self.TREE)).out, dot)
        self.assertEqual((await self.run_("graph", self.file(self.TREE))).out, dot)
        result = await self.run_("graph", "HOSTS")
        self.assertEqual(result.code, Exit.FAILED)
        self.assertIn("there is no such file; for a server add a path", result.err)
        await self.put(self.TREE)
        self.assertEqual((await self.run_("graph", "HOSTS", "/")).out, dot)
        name = self.mktemp() + ".dot"
        await self.run_("graph", "HOSTS", "/", "-o", name)
        with open(name) as file:
            self.assertEqual(file.read(), dot)
        result = await self.run_("graph", "--json", stdin=self.TREE)
        self.assertEqual(json.loads(result.out), [["/b", "/a"]])

    @skipIf(not which("dot"), "Graphviz is not installed")
    async def test_graphviz_draws_a_picture(self) -> None:
        """Graphviz draws."""
        name = self.mktemp() + ".svg"
        result = await self.run_("graph", "-o", name, stdin=self.TREE, PATH=os.environ["PATH"])
        self.assertEqual(result.err, f"drew 1 link to {name}\n")
        with open(name) as file:
            self.assertIn("</svg>", file.read())

    async def test_a_missing_graphviz_is_explained(self) -> None:
        """Without Graphviz the error says what to install."""
        result = await self.run_("graph", "-o", "x.svg", stdin=self.TREE, PATH="/nowhere")
        self.assertEqual(result.code, Exit.FAILED)
        self.assertIn("with -o FILE.dot", result.err)
