"""What the data of a node means: properties as JSON, or one plain string."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from zkservice.errors import TreeValueError
from zkservice.tree.values import Properties, canonical, checked_properties, is_too_deep

#: The one property of a node whose data are no JSON object.
STRING_VALUE: Final = "string_value"


def encode(properties: Mapping[str, Any]) -> bytes:
    """The data that store the properties: ``decode`` gives the same ones back.

    A single ``string_value`` is stored as it is, so that other programs can read it,
    unless it would be taken for something else; all else is JSON without blanks.

    Raises:
        TreeValueError: JSON cannot hold one of the values.
    """
    whole = checked_properties(properties)
    if whole.keys() == {STRING_VALUE}:
        raw = _raw(whole[STRING_VALUE])
        if raw is not None and canonical(decode(raw)) == canonical(whole):
            return raw
    return canonical(whole).encode("ascii")


def decode(
    data: bytes | None, on_bad_json: Callable[[ValueError], object] = lambda error: None
) -> Properties:
    """The properties that the data of a node stand for; never fails.

    No data or only white space is no property; a JSON object is its members; all else
    is one property, ``string_value``.  Bytes that are no UTF-8 are kept in it as lone
    surrogates (``surrogateescape``).

    Args:
        data: as ZooKeeper has them.
        on_bad_json: told why data in braces are no JSON, before they are taken as a string.
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
    """The bytes of a plain string; None when the value has none."""
    if not isinstance(value, str):
        return None
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is out of the range of a float")
    return number


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


# Strict where Python is not: what it reads, every JSON parser can, and it can be
# written again.
_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
