"""Tests of what is packaged, and of what imports what, as far as the checkout shows it.

The three ways to install are tried for real by ``.ci/run``.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import skipIf

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.python.procutils import which
from twisted.python.usage import Options
from twisted.trial.unittest import SynchronousTestCase

from zkservice import errors

ROOT = Path(errors.__file__).parent.parent
PACKAGE = ROOT / "zkservice"
#: Projects that are called otherwise than what is imported of them.
PROJECTS = {
    "OpenSSL": "pyOpenSSL",
    "netifaces": "netifaces-plus",
    "paste": "PasteDeploy",
    "puresasl": "pure-sasl",
    "service_identity": "service-identity",
    "zope": "zope.interface",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the package, parsed."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(), path.name)


def imported(tree: ast.Module) -> Iterator[str]:
    """The names of the modules that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None and node.level == 0, "relative imports are not used"
            yield node.module


def loaded(statement: str) -> set[str]:
    """The modules that a fresh Python has loaded after a statement."""
    script = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


class PackageTests(SynchronousTestCase):
    """What an installation is made of."""

    def test_every_folder_is_a_package(self) -> None:
        """Every folder with modules in it is a package, so that it is installed."""
        folders = {path.parent for path in PACKAGE.rglob("*.py")}
        self.assertEqual([one for one in folders if not (one / "__init__.py").exists()], [])

    def test_the_package_is_typed(self) -> None:
        """The package says that it is typed."""
        self.assertTrue((PACKAGE / "py.typed").exists())

    def test_files_that_are_no_modules_are_installed(self) -> None:
        """Each is named in setup.py: no other file finds its way into a wheel."""
        setup = (ROOT / "setup.py").read_text()
        for path in PACKAGE.rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".pyc"):
                self.assertIn(f'"{path.name}"', setup)

    def test_the_licence_is_shipped(self) -> None:
        """The licence is there to be shipped."""
        self.assertIn("Permission is hereby granted", (ROOT / "LICENSE").read_text())

    def test_lower_layers_load_no_twisted(self) -> None:
        """``import zkservice`` loads nothing, and the lowest layers load no Twisted."""
        self.assertNotIn("twisted", loaded("import zkservice"))
        for layer in ("wire.records", "wire.watches", "http11", "tree", "errors"):
            names = loaded(f"import zkservice.{layer}")
            # "zope" alone says nothing: packages of that family make it as Python starts.
            self.assertTrue({"twisted", "zope.interface"}.isdisjoint(names), layer)

    def test_every_import_is_a_declared_dependency(self) -> None:
        """Every package that is imported is asked for in pyproject.toml."""
        declared = set(map(_normal, _dependencies()))
        strangers = {
            (path, name)
            for path, tree in modules()
            for name in {full.partition(".")[0] for full in imported(tree)}
            if name not in {"zkservice", *sys.stdlib_module_names}
            and _normal(PROJECTS.get(name, name)) not in declared
        }
        self.assertEqual(strangers, set())


def _normal(project: str) -> str:
    """A project's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", project).lower()


def _dependencies() -> list[str]:
    """The projects that are needed at run time, by the extras for users too."""
    text = (ROOT / "pyproject.toml").read_text()
    needed = text.partition("\ndependencies = [")[2].partition("\n]")[0]
    extras = re.findall(r"^(?:[a-z]+) = \[(.+)\]$", text, re.MULTILINE)
    return re.findall(r'"([A-Za-z0-9._-]+)', "\n".join([needed, *extras]))


class PluginTests(SynchronousTestCase):
    """The names that twistd knows."""

    def makers(self) -> dict[str, Any]:
        """Our commands among all that twistd finds."""
        found: list[Any] = list(getPlugins(IServiceMaker))
        return {one.tapname: one for one in found if one.module.startswith("zkservice.")}

    def test_twistd_finds_both_commands(self) -> None:
        """twistd finds all commands."""
        self.assertEqual(set(self.makers()), {"zkserve", "zkembedded", "zkregister", "zkfollow"})

    def test_commands_have_options_and_services(self) -> None:
        """What it finds has options and makes services."""
        for name, maker in self.makers().items():
            module = import_module(maker.module)
            self.assertTrue(issubclass(module.Options, Options), name)
            self.assertTrue(callable(module.makeService), name)

    def test_the_plugin_folders_are_no_packages(self) -> None:
        """The plugin's folders are pieces of Twisted's: an __init__.py would hide all others."""
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py")), [])

    def test_the_plugin_imports_nothing_of_ours(self) -> None:
        """``twistd --help`` imports none of our modules."""
        plugin = ROOT / "twisted" / "plugins" / "zkservice_plugins.py"
        names = set(imported(ast.parse(plugin.read_text())))
        self.assertEqual(names, {"twisted.application.service"})


@skipIf(not which("make"), "there is no make")
class MakefileTests(SynchronousTestCase):
    """The newcomer's first commands."""

    def test_make_test_all_runs_every_module_of_tests(self) -> None:
        """What ``make test`` leaves out, ``make functional`` runs; the smoke test is in both."""
        printed = subprocess.run(
            ["make", "--no-print-directory", "--dry-run", "test-all"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        named = re.findall(r"\btests\.[\w.]+", printed)
        left_out = [
            path
            for path in (ROOT / "tests").rglob("test_*.py")
            for dotted in [".".join(path.relative_to(ROOT).with_suffix("").parts)]
            if not any(f"{dotted}.".startswith(f"{name}.") for name in named)
        ]
        self.assertEqual(left_out, [])
        self.assertEqual(len(named), len(set(named)))

    def test_an_old_python_is_refused_in_one_line(self) -> None:
        """A Python that is too old is reported in one line, before anything is built."""
        old = Path(self.mktemp()).absolute()
        environment = old.with_suffix(".venv")
        pretend = "import sys; sys.version_info = (3, 9, 18); exec(sys.argv[1])"
        old.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{pretend}' \"$2\"\n")
        old.chmod(0o755)
        done = subprocess.run(
            ["make", "--no-print-directory", "run", f"PYTHON={old}", f"VENV={environment}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        self.assertEqual(done.returncode, 2)
        self.assertIn("is Python 3.9, and zkservice needs 3.10 or later", done.stderr)
        self.assertEqual((done.stdout, environment.exists()), ("", False))
