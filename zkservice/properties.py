"""Properties and the data of a znode that store them: JSON, or one plain string.

Trees, registrations and the formats that other programs read share this module, so it
depends on none of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import isfinite, isinf
from typing import Any, Final, NoReturn, TypeAlias

from zkservice.errors import TreeValueError

#: What a property can be: None, a bool, int, float, str, or lists and
#: string-keyed dicts of these.
Value: TypeAlias = Any
Properties: TypeAlias = dict[str, Value]

#: Levels of lists and dicts in one value.  Python's own parser stops at 200 brackets.
MAX_DEPTH: Final = 64

#: Bits of an int that need no further check.  Python refuses to write ints of over 4300 digits.
_SHORT_INT: Final = 64

#: The name of the one property that a node has if its data is not a JSON object.
STRING_VALUE: Final = "string_value"


def encode(properties: Mapping[str, Any]) -> bytes:
    """Encode properties as data, which ``decode`` turns into equal properties.

    A single ``string_value`` is stored as it is, so that other programs can read it, unless
    it would be decoded as something else.  Everything else is JSON without blanks.

    Raises:
        TreeValueError: JSON cannot hold one of the values.
    """
    checked = checked_properties(properties)
    if checked.keys() == {STRING_VALUE}:
        raw = _raw(checked[STRING_VALUE])
        if raw is not None and canonical(decode(raw)) == canonical(checked):
            return raw
    return canonical(checked).encode("ascii")


def decode(
    data: bytes | None, on_bad_json: Callable[[ValueError], object] = lambda error: None
) -> Properties:
    """Decode the data of a node.  This never fails.

    Empty data and white space become no properties, and a JSON object becomes its members.
    Anything else becomes one property, ``string_value``.  Bytes that are not UTF-8 are kept
    in it as lone surrogates (``surrogateescape``).

    Args:
        data: of the node; None is empty.
        on_bad_json: called with the error if the data are in braces, but are not JSON.
    """
    text = (data or b"").decode("utf-8", "surrogateescape")
    stripped = text.strip()
    if not stripped:
        return {}
    if stripped.startswith("{") and stripped.endswith("}"):
        try:
            return _members(stripped)
        except ValueError as error:
            on_bad_json(error)
    return {STRING_VALUE: text}


def _members(text: str) -> Properties:
    """The members of a JSON object."""
    try:
        properties: Properties = _DECODER.decode(text)
    except RecursionError:
        raise TreeValueError("the value is too deeply nested") from None
    if any(map(is_too_deep, properties.values())):
        raise TreeValueError("the value is too deeply nested")
    return properties


def _raw(value: object) -> bytes | None:
    """The bytes of a string; None for other values, and for strings that are not encodable."""
    if not isinstance(value, str):
        return None
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None


def _parse_float(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise ValueError(f"{text} is out of the range of a float")
    return number


def _refuse_constant(text: str) -> NoReturn:
    """Refuse ``NaN`` and ``Infinity``, which Python's parser accepts."""
    raise ValueError(f"{text} is not JSON")


# Stricter than Python's default: it accepts only what every other JSON parser can read, and what
# can be encoded again.
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_parse_float)


def read_property(text: str) -> tuple[str, Value]:
    """The name and value of ``NAME=VALUE``, a string, or of ``NAME:=JSON``, any value.

    Raises:
        ValueError: the text has neither form, or the JSON is invalid.
    """
    name, equals, value = text.partition("=")
    typed = name.endswith(":")
    name = name.removesuffix(":").strip()
    if not equals or not name:
        raise ValueError(f"{text!r}: write NAME=VALUE or NAME:=JSON")
    if not typed:
        return name, value
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{text!r}: the value is invalid JSON: {error}") from None


def checked_value(value: object) -> Value:
    """The value as it is after a round trip through JSON.

    Raises:
        TreeValueError: JSON cannot hold it.
    """
    if value is None or type(value) in (str, bool):
        return value
    if type(value) is int and value.bit_length() <= _SHORT_INT:
        return value
    if type(value) is float and isfinite(value):
        return value
    try:
        text = json.dumps(value, allow_nan=False)
        if isinstance(value, (int, float)):
            return json.loads(text)
        stored = json.loads(text, object_pairs_hook=_refuse_repeated_keys)
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
    """Whether lists and dicts are nested deeper than ``MAX_DEPTH``."""
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
    """A copy of the properties, each as it is after a round trip through JSON.

    Raises:
        TreeValueError: JSON cannot hold a property, which the message names.
    """
    result: Properties = {}
    for name, value in properties.items():
        try:
            result[name] = checked_value(value)
        except TreeValueError as error:
            raise TreeValueError(f"{name}: {error.problem}") from None
    return result


def canonical(value: Value) -> str:
    """One text for each value, for comparison; ``1`` and ``1.0`` are different values."""
    return _CANONICAL.encode(value)


_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def _refuse_repeated_keys(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    """A dict of the pairs; keys that differ in Python may be equal in JSON, as 1 and '1' are."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise TreeValueError("two keys of a dict are the same in JSON")
    return result
