"""``module:application`` and ``module:factory(...)``, in the notation of gunicorn."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from zkservice.errors import ApplicationLoadError

#: What `ast` raises for a text that is not an expression, or not a literal.
_PARSE_ERRORS = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)


@dataclass(frozen=True)
class Arguments:
    """The arguments of a factory: only literals."""

    positional: tuple[Any, ...]
    keyword: dict[str, Any]


@dataclass(frozen=True)
class ModuleSpec:
    """The place of an application in a module.

    Attributes:
        module: the module's dotted name.
        attributes: the names that lead from the module to the application or its factory.
        arguments: the factory's arguments; None if the attribute is the application itself.
    """

    module: str
    attributes: tuple[str, ...]
    arguments: Arguments | None

    @property
    def dotted(self) -> str:
        """The attributes as they were written."""
        return ".".join(self.attributes)


def parse_module_spec(spec: str) -> ModuleSpec:
    """Read ``module:attribute``, dotted too, and ``module:factory(literal, name=literal)``.

    Raises:
        ApplicationLoadError: the text is invalid.
    """
    module, _, text = spec.partition(":")
    try:
        expression = ast.parse(text, mode="eval").body
    except _PARSE_ERRORS:
        raise _invalid(spec) from None
    if not all(part.isidentifier() for part in module.split(".")):
        raise _invalid(spec)
    if isinstance(expression, ast.Call):
        names = tuple(_names(spec, expression.func))
        return ModuleSpec(module, names, _arguments(spec, expression))
    return ModuleSpec(module, tuple(_names(spec, expression)), None)


def _names(spec: str, expression: ast.expr) -> Iterator[str]:
    """The parts of a dotted name."""
    if isinstance(expression, ast.Attribute):
        yield from _names(spec, expression.value)
        yield expression.attr
    elif isinstance(expression, ast.Name):
        yield expression.id
    else:
        raise _invalid(spec)


def _arguments(spec: str, call: ast.Call) -> Arguments:
    if any(each.arg is None for each in call.keywords):  # **mapping
        raise _invalid(spec)
    try:
        return Arguments(
            tuple(ast.literal_eval(each) for each in call.args),
            {str(each.arg): ast.literal_eval(each.value) for each in call.keywords},
        )
    except _PARSE_ERRORS:
        raise ApplicationLoadError(
            f"{spec!r} is invalid: arguments of a factory are literals, such as 'text', 1 or "
            "[True, None]"
        ) from None


def _invalid(spec: str) -> ApplicationLoadError:
    return ApplicationLoadError(
        f"{spec!r} is invalid: an application is file.wsgi, module:callable, module:factory() or "
        "config:file.ini"
    )
