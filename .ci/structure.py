"""Measure the structure of the package: state, cycles, names, repetition, words.

``python .ci/structure.py`` prints the table; ``--check`` exits with 1 if a figure is above its
bound.  It reads the source as text and as a syntax tree; nothing is imported.
"""

from __future__ import annotations

import argparse
import ast
import io
import keyword
import statistics
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

#: Lines that make a repetition.
RUN = 6


@dataclass(frozen=True)
class Module:
    """One source file, read once."""

    name: str
    path: Path
    text: str
    #: Of its syntax tree, from the module itself to the innermost: it is walked once.
    nodes: tuple[ast.AST, ...]


def read_modules(root: Path) -> list[Module]:
    """Every module below a package's folder."""
    found = []
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        dotted = ".".join(path.relative_to(root.parent).with_suffix("").parts)
        nodes = tuple(ast.walk(ast.parse(text)))
        found.append(Module(dotted.removesuffix(".__init__"), path, text, nodes))
    return found


# -- state ---------------------------------------------------------------------------


def attributes(tree: ast.ClassDef) -> set[str]:
    """What the methods of a class assign on ``self``."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def classes(modules: list[Module]) -> Iterator[tuple[Module, ast.ClassDef]]:
    """Every class with its module."""
    for module in modules:
        for node in module.nodes:
            if isinstance(node, ast.ClassDef):
                yield module, node


# -- cycles --------------------------------------------------------------------------


def imports(modules: list[Module]) -> dict[str, set[str]]:
    """Which module imports which, in functions and under TYPE_CHECKING too."""
    names = {module.name for module in modules}
    graph: dict[str, set[str]] = {name: set() for name in names}
    for module in modules:
        for node in module.nodes:
            graph[module.name] |= {name for name in _targets(node, names) if name != module.name}
    return graph


def _targets(node: ast.AST, names: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            if inner in names:
                yield inner
            elif node.module in names:
                yield node.module


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other."""
    reached = {name: _reachable(graph, name) for name in graph}
    groups = {
        tuple(sorted({other for other in reached[name] if name in reached[other]}))
        for name in graph
        if name in reached[name]
    }
    return sorted(map(list, groups))


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(graph[name])
    return seen


# -- repetition ----------------------------------------------------------------------


def repeated_places(modules: list[Module]) -> list[str]:
    """Where a run of six lines or more stands that also stands elsewhere, letter by letter."""
    windows: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    lines = {module.name: list(_code_lines(module)) for module in modules}
    for name, code in lines.items():
        for index in range(len(code) - RUN + 1):
            windows[tuple(line for _, line in code[index : index + RUN])].append((name, index))
    starts = sorted(place for places in windows.values() if len(places) > 1 for place in places)
    # Windows that touch are one place.
    return [
        f"{name}:{lines[name][index][0]}"
        for position, (name, index) in enumerate(starts)
        if not position or starts[position - 1] != (name, index - 1)
    ]


def _code_lines(module: Module) -> Iterator[tuple[int, str]]:
    """Numbered lines without imports, docstrings, comments and lone punctuation."""
    skipped = set(_lines_of_imports_and_docstrings(module.nodes))
    for number, line in enumerate(module.text.splitlines(), 1):
        stripped = line.strip()
        if number in skipped or stripped.startswith("#"):
            continue
        if any(character.isalnum() for character in stripped):
            yield number, stripped


def _lines_of_imports_and_docstrings(nodes: Iterable[ast.AST]) -> Iterator[int]:
    for node in nodes:
        constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if constant or isinstance(node, (ast.Import, ast.ImportFrom)):
            assert isinstance(node, ast.stmt)
            yield from range(node.lineno, (node.end_lineno or node.lineno) + 1)


# -- words ---------------------------------------------------------------------------


def docstrings(modules: list[Module]) -> tuple[int, list[int]]:
    """How many public things there are, and the words of each docstring."""
    things, lengths = 0, []
    for module in modules:
        for node in module.nodes:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                if node.name.startswith("_"):
                    continue
                things += 1
                text = ast.get_docstring(node)
                if text:
                    lengths.append(len(text.split()))
    return things, lengths


def comment_share(modules: list[Module]) -> float:
    """Comments for each hundred lines of code."""
    comments = lines = 0
    for module in modules:
        lines += sum(1 for _ in _code_lines(module))
        comments += sum(
            token.type == tokenize.COMMENT
            for token in tokenize.generate_tokens(io.StringIO(module.text).readline)
        )
    return 100 * comments / lines


def bodies(modules: list[Module]) -> list[int]:
    """Lines of each function without its docstring."""
    found = []
    for module in modules:
        for node in module.nodes:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                first = node.body[1:2] if ast.get_docstring(node) is not None else node.body[:1]
                start = first[0].lineno if first else node.end_lineno or node.lineno
                found.append((node.end_lineno or start) - start + 1)
    return sorted(found)


# -- the table -----------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """One line of the table; ``bound`` is the highest value that passes, None if any does."""

    name: str
    value: float
    bound: float | None = None
    details: tuple[str, ...] = ()

    @property
    def passes(self) -> bool:
        """Whether the figure is within its bound."""
        return self.bound is None or self.value <= self.bound


def figures(modules: list[Module]) -> list[Figure]:
    """Everything that is measured."""
    widest = sorted(
        (
            (len(attributes(node)), f"{module.name}.{node.name}")
            for module, node in classes(modules)
        ),
        reverse=True,
    )
    knots = cycles(imports(modules))
    named = Counter(node.name for _, node in classes(modules) if not keyword.iskeyword(node.name))
    shared = sorted(name for name, count in named.items() if count > 1)
    places = repeated_places(modules)
    things, words = docstrings(modules)
    lengths = bodies(modules)
    return [
        Figure("attributes of the widest class", widest[0][0], 15, _wide(widest)),
        Figure("import cycles, annotations included", len(knots), 0, tuple(map(", ".join, knots))),
        Figure("class names used more than once", len(shared), 5, tuple(shared)),
        Figure("places that repeat six lines", len(places), 25, tuple(places)),
        Figure("lines of the longest function", lengths[-1], 50),
        Figure("lines of a function, median", statistics.median(lengths)),
        Figure("lines of a function, 90th percentile", lengths[len(lengths) * 9 // 10]),
        Figure("public things with a docstring, %", round(100 * len(words) / things)),
        Figure("words of a docstring, median", statistics.median(words)),
        Figure("comments for each 100 lines", round(comment_share(modules), 1)),
    ]


def _wide(widest: list[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(f"{name} ({count})" for count, name in widest if count > 15)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 above a bound")
    parser.add_argument("--details", action="store_true", help="name what is counted")
    parser.add_argument("package", nargs="?", type=Path, default=Path("zkservice"))
    arguments = parser.parse_args()
    table = figures(read_modules(arguments.package))
    for figure in table:
        bound = "" if figure.bound is None else f"at most {figure.bound:g}"
        mark = "" if figure.passes else "  ABOVE"
        print(f"{figure.name:40} {figure.value:8g}  {bound:12}{mark}")
        if figure.details and (arguments.details or not figure.passes):
            print("\n".join(f"    {detail}" for detail in figure.details))
    if arguments.check and not all(figure.passes for figure in table):
        sys.exit(1)


if __name__ == "__main__":
    main()
