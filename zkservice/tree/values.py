"""Values of properties: what JSON can hold, written as Python literals.

Nothing is ever evaluated: text that is no literal is refused.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from math import isfinite
from typing import Any, Final, TypeAlias

from zkservice.errors import TreeValueError

#: What a property can be: None, a bool, int, float, str, or lists and
#: string-keyed dicts of these.
Value: TypeAlias = Any
Properties: TypeAlias = dict[str, Value]

#: Levels of lists and dicts in one value.  Python's own parser stops at 200 brackets.
MAX_DEPTH: Final = 64

_SMALL: Final = 64  # bits; longer ints may have more digits than Python writes

# What most values are, read without a compiler: it takes eight times as long.
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"-?[0-9]{1,15}\.[0-9]{1,17}")
_STRING: Final = re.compile(r"'([^'\\\n]*)'|\"([^\"\\\n]*)\"")
_NAMED: Final[dict[str, Value]] = {"True": True, "False": False, "None": None}


def parse_value(text: str) -> Value:
    """The value of a Python literal; a comment may follow it.

    Tuples become lists and keys become strings, as in JSON, which is how they are stored.

    Raises:
        TreeValueError: it is no literal, or none that JSON can hold, with the offset
            of the culprit in the text.
    """
    if text in _NAMED:
        return _NAMED[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    string = _STRING.fullmatch(text)
    if string is not None:
        return string[string.lastindex or 1]
    try:
        value = ast.literal_eval(text)
    except SyntaxError as error:
        problem = f"not a literal: {error.msg}"
        raise TreeValueError(problem, _offset(text, error.offset)) from None
    except ValueError as error:
        raise TreeValueError(*_explain(text, error)) from None
    except (MemoryError, RecursionError, TypeError):
        raise TreeValueError("not a literal, or one that is too deeply nested") from None
    return checked_value(value)


def checked_value(value: object) -> Value:
    """The value as JSON would give it back.

    Raises:
        TreeValueError: JSON cannot hold it.
    """
    if value is None or type(value) in (str, bool):
        return value
    if type(value) is int and value.bit_length() <= _SMALL:
        return value
    if type(value) is float and isfinite(value):
        return value
    try:
        text = json.dumps(value, allow_nan=False)
        if isinstance(value, (int, float)):
            return json.loads(text)
        stored = json.loads(text, object_pairs_hook=_without_repetition)
    except TreeValueError:
        raise
    except RecursionError:
        raise TreeValueError("the value is too deeply nested") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise TreeValueError(f"not storable as JSON: {error}") from None
    if is_too_deep(stored):
        raise TreeValueError("the value is too deeply nested")
    return stored


def is_too_deep(value: Value) -> bool:
    """Whether lists and dicts stand in one another more often than ``MAX_DEPTH``."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
    return bool(level)


def checked_properties(properties: Mapping[str, Any]) -> Properties:
    """A copy of the properties, each as JSON would give it back.

    Raises:
        TreeValueError: with the name of the one that JSON cannot hold.
    """
    result: Properties = {}
    for name, value in properties.items():
        try:
            result[name] = checked_value(value)
        except TreeValueError as error:
            raise TreeValueError(f"{name}: {error.problem}") from None
    return result


def canonical(value: Value) -> str:
    """One text for each value: equal texts, equal values, ``1`` and ``1.0`` told apart."""
    return _CANONICAL.encode(value)


_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def _without_repetition(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    """A dict of the pairs; keys that differ in Python may be one in JSON, as 1 and '1' are."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise TreeValueError("two keys of a dict are the same in JSON")
    return result


def _offset(text: str, column: int | None) -> int:
    """An offset into the text for the column, from 1, of a SyntaxError in its first line."""
    return max(0, min((column or 1) - 1, len(text)))


def _explain(text: str, error: ValueError) -> tuple[str, int]:
    """What is no literal about an expression, and where it stands."""
    try:
        expression = ast.parse(text, mode="eval").body
    except ValueError:  # a NUL, or a number of too many digits
        return f"not a literal: {error}", 0
    for node in ast.walk(expression):
        if isinstance(node, ast.expr) and not isinstance(node, _LITERALS):
            start = len(text.encode()[: node.col_offset].decode(errors="ignore"))
            if isinstance(node, ast.Name):
                return f"{node.id} is no literal; a string needs quotes", start
            return "code is not evaluated, write a literal", start
    return "not a literal", 0


_LITERALS: Final = (ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.UnaryOp, ast.Load)
