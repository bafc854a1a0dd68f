"""Tests of ``zkservice.properties``, and of values written as literals."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.tree.strategies import properties, values
from zkservice.errors import TreeValueError
from zkservice.properties import MAX_DEPTH, canonical, checked_value, decode, encode
from zkservice.tree.text import format_value
from zkservice.tree.values import parse_value


class EncodingTests(SynchronousTestCase):
    """Properties to bytes and back."""

    def test_encoding_has_its_golden_bytes(self) -> None:
        """JSON is compact, a lone string_value is raw, no properties are braces."""
        for whole, data in (
            ({}, b"{}"),
            ({"b": 1, "a": "\xe9"}, b'{"a":"\\u00e9","b":1}'),
            ({"string_value": "hello \xe9"}, "hello \xe9".encode()),
            ({"string_value": "x", "a": 1}, b'{"a":1,"string_value":"x"}'),
            ({"string_value": 5}, b'{"string_value":5}'),
            ({"string_value": ' {"a": 1}'}, b'{"string_value":" {\\"a\\": 1}"}'),
            ({"string_value": " "}, b'{"string_value":" "}'),
        ):
            self.assertEqual(encode(whole), data)

    def test_only_a_json_object_has_properties(self) -> None:
        """Only a JSON object has several properties; other data are one string, or none."""
        for data, whole in (
            (None, {}),
            (b"", {}),
            (b" \n", {}),
            (b' {"a": [1, null]}\n', {"a": [1, None]}),
            (b"[1]", {"string_value": "[1]"}),
            (b" 5 ", {"string_value": " 5 "}),
            (b"{nonsense}", {"string_value": "{nonsense}"}),
            (b'{"a": NaN}', {"string_value": '{"a": NaN}'}),
            (b'{"a": 1e999}', {"string_value": '{"a": 1e999}'}),
        ):
            self.assertEqual(decode(data), whole)

    def test_bad_json_is_reported(self) -> None:
        """``on_bad_json`` is called with the error of data in braces that are not JSON."""
        heard: list[ValueError] = []
        decode(b"{nonsense}", heard.append)
        decode(b"nonsense", heard.append)
        deep = MAX_DEPTH + 1
        decode(b'{"a":' + b"[" * deep + b"]" * deep + b"}", heard.append)
        self.assertEqual(len(heard), 2)

    @given(properties)
    def test_stored_properties_come_back(self, whole: dict[str, Any]) -> None:
        """Decoding returns the encoded properties."""
        self.assertEqual(canonical(decode(encode(whole))), canonical(whole))

    @given(st.binary() | st.text().map(str.encode) | st.from_regex(rb"\s*\{.*\}\s*"))
    def test_any_bytes_can_be_read(self, data: bytes) -> None:
        """Any bytes can be read, and what is read stores the same again."""
        whole = decode(data)
        self.assertEqual(canonical(decode(encode(whole))), canonical(whole))


class ValueTests(SynchronousTestCase):
    """Literals to values and back."""

    @given(values)
    def test_every_value_has_a_literal(self, value: Any) -> None:
        """Every value has a literal."""
        self.assertEqual(canonical(parse_value(format_value(value))), canonical(value))

    def test_literals_of_python_2_are_accepted(self) -> None:
        """Python 2's prefix, comments, tuples and keys that JSON turns into strings."""
        for text, value in (
            ("u'x'", "x"),
            ("1 # one", 1),
            ("(1, 'a')", [1, "a"]),
            ("{1: None, True: -1.5}", {"1": -1.5}),
            ("{None: ''}", {"null": ""}),
            ("'a' 'b'", "ab"),
        ):
            self.assertEqual(canonical(parse_value(text)), canonical(value))

    def test_code_is_refused_with_its_place(self) -> None:
        """Code, and what JSON cannot hold, is refused, and the place is named."""
        for text, offset in (
            ("__import__('os').getpid()", 0),
            ("[1, x]", 4),
            ("{'\xe9': f(1)}", 6),
            ("1 + 1", 0),
            ("f'{1}'", 0),
            ("b'x'", 0),
            ("{1}", 0),
            ("1j", 0),
            ("1e999", 0),
            ("{1: 1, '1': 2}", 0),
            ("'unfinished", 0),
            ("[1, 2", 0),
            ("lambda: 1", 0),
            ("[" * 500 + "]" * 500, 0),
            ("[" * 70 + "]" * 70, 0),
            ("9" * 5000, 0),
        ):
            error = self.assertRaises(TreeValueError, parse_value, text)
            if offset:
                self.assertEqual((text, error.offset), (text, offset))

    def test_no_value_of_json(self) -> None:
        """Objects that JSON cannot hold are refused, nan among them."""
        for value in (object(), {1, 2}, b"x", float("nan"), [float("inf")], {(1, 2): 3}):
            self.assertRaises(TreeValueError, checked_value, value)
        circle: list[Any] = []
        circle.append(circle)
        self.assertRaises(TreeValueError, checked_value, circle)

    def test_encode_names_the_property(self) -> None:
        """The error names the property that cannot be stored."""
        error = self.assertRaises(TreeValueError, encode, {"good": 1, "bad": object()})
        self.assertTrue(str(error).startswith("bad: "), str(error))
