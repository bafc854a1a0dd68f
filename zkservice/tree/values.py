"""Values of properties: values that JSON can hold, written as Python literals.

No code is evaluated; text that is not a literal is refused.
"""

from __future__ import annotations

import ast
import re
from typing import Final

from zkservice.errors import TreeValueError
from zkservice.properties import Value, checked_value

# Most values, parsed without Python's compiler, which takes eight times as long.
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"-?[0-9]{1,15}\.[0-9]{1,17}")
_STRING: Final = re.compile(r"'([^'\\\n]*)'|\"([^\"\\\n]*)\"")
_NAMED: Final[dict[str, Value]] = {"True": True, "False": False, "None": None}


def parse_value(text: str) -> Value:
    """Parse a Python literal; a comment may follow it.

    Tuples become lists, and keys of dicts become strings, because values are stored as JSON.

    Raises:
        TreeValueError: it is not a literal, or JSON cannot hold it; with the offset of the
            problem in the text.
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


def _offset(text: str, column: int | None) -> int:
    """The offset in the text of a SyntaxError's column, which counts from 1."""
    return max(0, min((column or 1) - 1, len(text)))


def _explain(text: str, error: ValueError) -> tuple[str, int]:
    """Which part of an expression is not a literal, and its offset."""
    try:
        expression = ast.parse(text, mode="eval").body
    except ValueError:  # a NUL, or a number of too many digits
        return f"not a literal: {error}", 0
    for node in ast.walk(expression):
        if isinstance(node, ast.expr) and not isinstance(node, _LITERALS):
            start = len(text.encode()[: node.col_offset].decode(errors="ignore"))
            if isinstance(node, ast.Name):
                return f"{node.id} is not a literal; a string needs quotes", start
            return "code is not evaluated, write a literal", start
    return "not a literal", 0


_LITERALS: Final = (ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.UnaryOp, ast.Load)
