"""Records for hypothesis to make up, derived from their annotations."""

from __future__ import annotations

from dataclasses import fields
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from zkservice.wire import acl, multi, records
from zkservice.wire.jute import (
    Bool,
    Buffer,
    Int,
    LenientUString,
    Long,
    NullableUString,
    TrailingBool,
    UString,
)

ints = st.integers(-(2**31), 2**31 - 1)
longs = st.integers(-(2**63), 2**63 - 1)

_PRIMITIVES: dict[Any, st.SearchStrategy[Any]] = {
    Int: ints,
    Long: longs,
    Bool: st.booleans(),
    Buffer: st.none() | st.binary(max_size=40),
    UString: st.text(max_size=12),
    LenientUString: st.text(max_size=12),
    NullableUString: st.none() | st.text(max_size=12),
    TrailingBool: st.none() | st.booleans(),
}

stats = st.builds(records.Stat, *(longs if code == "q" else ints for code in "qqqqiiiqiiq"))


def values_for(annotation: Any) -> st.SearchStrategy[Any]:
    """Everything that a field with this annotation can hold."""
    if get_origin(annotation) is Annotated:
        return _PRIMITIVES[annotation]
    if get_origin(annotation) is list:
        return st.lists(values_for(get_args(annotation)[0]), max_size=3)
    if type(None) in get_args(annotation):
        return st.none() | values_for(get_args(annotation)[0])
    return values_of(annotation)


def values_of(record: type[Any]) -> st.SearchStrategy[Any]:
    """Every value of a record's class."""
    if record is records.Stat:
        return stats
    hints = get_type_hints(record, include_extras=True)
    return st.builds(record, *(values_for(hints[field.name]) for field in fields(record)))


def _records_of(module: ModuleType) -> list[type[Any]]:
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and "__jute__" in vars(value)
        and value.__module__ == module.__name__
    ]


#: Every record that there is.
RECORDS = [*_records_of(acl), *_records_of(records), *_records_of(multi)]

#: What each can hold.
VALUES = {record: values_of(record) for record in RECORDS}
