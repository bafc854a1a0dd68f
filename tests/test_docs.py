"""Tests of README.rst and docs: what they show is what happens.

Command lines are parsed by the options that they are for.  The examples are run by
`tests.functional.test_page_examples`.
"""

from __future__ import annotations

import re
import shlex
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from docutils.core import publish_doctree
from docutils.nodes import Element, image, make_id, reference, system_message, tbody
from gunicorn.config import KNOWN_SETTINGS
from twisted.python.reflect import namedAny
from twisted.python.usage import Options
from twisted.trial.unittest import SynchronousTestCase
from waitress.adjustments import Adjustments

from zkservice import client, errors
from zkservice.cli.parser import parse_arguments
from zkservice.service import zkembedded, zkfollow, zkregister, zkserve
from zkservice.wire.session import TRANSITIONS, SessionEvent, State

ROOT = Path(errors.__file__).parent.parent
#: Addresses of ours, and the folder that each shows.
REPOSITORY = "https://github.com/zkservice/zkservice/"
OURS = {
    "https://zkservice.readthedocs.io/en/latest/": ROOT / "docs",
    f"{REPOSITORY}blob/main/": ROOT,
    f"{REPOSITORY}tree/main/": ROOT,
    "https://raw.githubusercontent.com/zkservice/zkservice/main/": ROOT,
}
#: What a forge and a package index show as it is; the pages below docs are the site's.
FRONT_PAGES = sorted(ROOT.glob("*.rst"))
PAGES = [*FRONT_PAGES, *sorted((ROOT / "docs").glob("**/*.rst"))]
COMMANDS: dict[str, type[Options]] = {
    "zkserve": zkserve.Options,
    "zkembedded": zkembedded.Options,
    "zkregister": zkregister.Options,
    "zkfollow": zkfollow.Options,
}


def page_name(path: Path) -> str:
    """The page's name in messages."""
    return str(path.relative_to(ROOT))


def file_at(address: str) -> Path | None:
    """The file behind an address in this project; None for any other address."""
    for start, folder in OURS.items():
        if address.startswith(start):
            path = folder / address.removeprefix(start).partition("#")[0]
            return path.with_suffix(".rst") if path.suffix == ".html" else path
    return None


def load_module(path: Path) -> Any:
    """A module that is in no package."""
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def session_table() -> str:
    """The table of the session's states as docs/architecture.rst shows it."""
    rows = [["", *(event.name.lower().replace("_", " ") for event in SessionEvent)]]
    for state in State:
        targets = (TRANSITIONS[state].get(event) for event in SessionEvent)
        rows.append([state.name, *("—" if to is None else to.name for to in targets)])
    rows[0][0] = "state"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule]) + "\n"


def targets(tree: Element) -> list[str]:
    """Where the links and the pictures of a page lead, without fragments."""
    links = [str(node.get("refuri", "")) for node in tree.findall(reference)]
    pictures = [str(node["uri"]) for node in tree.findall(image)]
    return [target for one in links + pictures if (target := one.partition("#")[0])]


def command_lines(text: str) -> list[list[str]]:
    """The words of every shell command that a page shows."""
    joined = text.replace("\\\n", " ")
    return [
        shlex.split(part)
        for line in re.findall(r"^ +\$ (.*)$", joined, re.MULTILINE)
        for part in line.split("&&")
    ]


class PageTests(SynchronousTestCase):
    """What can be seen by reading."""

    def test_the_expected_pages_exist(self) -> None:
        """The pages that everything else points at are there."""
        names = set(map(page_name, PAGES))
        self.assertLessEqual({"README.rst", "CONTRIBUTING.rst", "docs/architecture.rst"}, names)

    def test_front_pages_are_plain_restructuredtext(self) -> None:
        """The front pages are plain reStructuredText, and their links lead somewhere.

        ``make docs`` checks the site's pages, with Sphinx.
        """
        for path in FRONT_PAGES:
            settings = {
                "report_level": 2,
                "halt_level": 5,
                "warning_stream": False,
                "syntax_highlight": "none",  # Pygments need not be there
            }
            tree: Element = publish_doctree(path.read_text(), settings_overrides=settings)
            problems = [node.astext() for node in tree.findall(system_message)]
            self.assertEqual(problems, [], page_name(path))
            for target in targets(tree):
                file = path.parent / target if ":" not in target else file_at(target)
                self.assertTrue(file is None or file.exists(), (page_name(path), target))

    def test_the_readme_works_outside_of_the_repository(self) -> None:
        """A package index shows README.rst without the files beside it: all links are absolute."""
        tree = publish_doctree((ROOT / "README.rst").read_text())
        found = targets(tree)
        self.assertEqual([target for target in found if ":" not in target], [])
        self.assertGreater(sum(file_at(target) is not None for target in found), 15)
        for target in found:
            if "zkservice" in target:
                self.assertIsNotNone(file_at(target), target)

    def test_contributing_has_fewer_than_40_lines(self) -> None:
        """A newcomer reads CONTRIBUTING.rst to its end: it has fewer than 40 lines."""
        self.assertLess(len((ROOT / "CONTRIBUTING.rst").read_text().splitlines()), 40)

    def test_the_session_table_is_the_codes(self) -> None:
        """The drawn table of the session's states is the code's."""
        drawn = (ROOT / "docs" / "architecture.rst").read_text()
        self.assertIn(f"\n\n{session_table()}\n", drawn)

    def test_every_shown_twistd_command_is_accepted(self) -> None:
        """Every shown twistd command is one that its options accept."""
        seen = set()
        for path in PAGES:
            if path.parent.name == "howto":
                continue  # functional.test_howto types them, beside the files that they name
            for words in command_lines(path.read_text()):
                for name, options in COMMANDS.items():
                    if "twistd" in words[:1] and name in words:
                        arguments = words[words.index(name) + 1 :]
                        if "--help" not in arguments:
                            options().parseOptions(arguments)
                        seen.add(name)
        self.assertIn("zkserve", seen)

    def test_every_shown_zkservice_command_is_accepted(self) -> None:
        """Every shown command of zkservice is one that it takes."""
        seen = 0
        for path in PAGES:
            for words in command_lines(path.read_text()):
                if words[:1] == ["zkservice"] and "--help" not in words:
                    parse_arguments(words[1:])
                    seen += 1
        self.assertGreater(seen, 5)

    def test_every_variable_is_an_option(self) -> None:
        """Every ``ZKSERVE_`` variable in pages and examples is that of an option."""
        files = [*PAGES, *(path for path in (ROOT / "examples").rglob("*") if path.is_file())]
        named = {
            name
            for path in files
            for name in re.findall(r"\bZKSERVE_([A-Z][A-Z_]*)\b", path.read_text())
        }
        self.assertGreater(len(named), 10)
        known = {*zkserve.Options().synonyms, "application", "service-host"}  # Kubernetes' own
        self.assertEqual({name.lower().replace("_", "-") for name in named} - known, set())

    def test_every_link_to_a_section_leads_to_one(self) -> None:
        """Every ``page.rst#section`` is a section of that page; ``make docs`` checks the pages."""
        seen = 0
        for path in PAGES:
            for target, anchor in re.findall(r"<([\w./]+\.rst)#([\w-]+)>", path.read_text()):
                titles = re.findall(
                    r"^(.+)\n(?:=|-|~){3,}$", (path.parent / target).read_text(), re.MULTILINE
                )
                self.assertIn(anchor, map(make_id, titles), (page_name(path), target))
                seen += 1
        self.assertGreater(seen, 5)

    def test_every_dotted_name_exists(self) -> None:
        """Every dotted name of ours leads somewhere."""
        names = {
            (page_name(path), name)
            for path in PAGES
            for name in re.findall(r"``(zkservice(?:\.\w+)+)", path.read_text())
        }
        self.assertGreater(len(names), 10)
        for page, name in names:
            try:
                namedAny(name)
            except (AttributeError, ModuleNotFoundError) as error:
                self.fail(f"{page}: {name}: {error}")

    def test_every_setting_of_gunicorn_and_waitress_has_a_place(self) -> None:
        """The page for their users names each of their settings, and options that exist."""
        page = (ROOT / "docs" / "from_gunicorn.rst").read_text()
        named = set(re.findall(r"``([a-z0-9_]+)``", page))
        theirs = {setting.name for setting in KNOWN_SETTINGS} | dict(Adjustments._params).keys()
        self.assertEqual(theirs - named, set())
        ours = set(re.findall(r"``--([a-z-]+)", page))
        twistd = set(namedAny("twisted.scripts.twistd.ServerOptions")().synonyms)
        self.assertEqual(ours - zkserve.Options().synonyms.keys() - twistd, set())

    def test_the_reference_names_all_that_the_client_exports(self) -> None:
        """Sphinx lists other packages by itself; the client's page has an order of its own."""
        page = (ROOT / "docs" / "api" / "client.rst").read_text()
        described = re.findall(r"(?m)^\.\. (?:autoclass|autofunction|data):: (\w+)$", page)
        self.assertEqual(sorted(described), sorted(client.__all__))

    def test_every_option_in_the_readme_exists(self) -> None:
        """Every option that README.rst names is one of zkserve's."""
        named = re.findall(r"--([a-z]+(?:-[a-z]+)*)", (ROOT / "README.rst").read_text())
        self.assertGreater(len(named), 3)
        known = {*zkserve.Options().synonyms, "help"}
        self.assertEqual([name for name in named if name not in known], [])


class TableTests(SynchronousTestCase):
    """``docs/_ext/table_rows.py``."""

    def rows(self, *lines: str) -> list[list[str]]:
        """The rows that a reader sees, of a table with these lines."""
        rule = "==========  =========="
        document = publish_doctree("\n".join([rule, "one         two", rule, *lines, rule]))
        tables = load_module(ROOT / "docs" / "_ext" / "table_rows.py")
        tables.JoinRows(document).apply()
        (body,) = document.findall(tbody)
        return [[cell.astext() for cell in line] for line in body]

    def test_rows_stay_rows(self) -> None:
        """A row that has text in each cell is a row."""
        self.assertEqual(self.rows("a           b", "c           d"), [["a", "b"], ["c", "d"]])

    def test_rest_of_a_first_cell(self) -> None:
        """Lines with nothing in the other cells belong to the row above."""
        found = self.rows("a long      b", "name", "of a thing", "c           d")
        self.assertEqual(found, [["a long name of a thing", "b"], ["c", "d"]])

    def test_list_of_names(self) -> None:
        """A comma at the end of the first cell is followed by more names."""
        self.assertEqual(self.rows("a,          b", "c           d"), [["a, c", "b d"]])

    def test_marked_row(self) -> None:
        """A row whose first cell begins with an escaped space belongs to the row above."""
        self.assertEqual(self.rows("a           b", r"\ c         d"), [["a c", "b d"]])
