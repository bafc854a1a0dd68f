"""Tests for `zkservice.service.options.option_table`, and of the rows that zkserve has."""

from __future__ import annotations

import os
from dataclasses import fields

from twisted.trial.unittest import SynchronousTestCase

from zkservice.client import TLS
from zkservice.errors import ConfigurationError
from zkservice.security import Security
from zkservice.service.config import (
    AdminViews,
    Config,
    DiscoverSettings,
    FrontEnd,
    HealthSettings,
    Manhole,
    Processes,
)
from zkservice.service.options.option_table import (
    FILE,
    FLAG,
    LOG_FILE,
    Given,
    Kind,
    Option,
    OptionTable,
    Values,
    choice,
    milliseconds,
    whole_number,
)
from zkservice.service.options.serve_table import OPTIONS
from zkservice.supervisor import RecyclingSettings
from zkservice.web import Limits

#: What the part of a target before its dot is.
PARTS = {
    "": Config,
    "admin": AdminViews,
    "discover": DiscoverSettings,
    "front_end": FrontEnd,
    "health": HealthSettings,
    "limits": Limits,
    "manhole": Manhole,
    "processes": Processes,
    "recycling": RecyclingSettings,
    "security": Security,
    "zookeeper_tls": TLS,
}


class KindTests(SynchronousTestCase):
    """From text to a value."""

    def refused(self, kind: Kind, text: str) -> str:
        """What is wrong with a text."""
        return str(self.assertRaises(ConfigurationError, kind.read, text))

    def test_numbers_have_bounds(self) -> None:
        """Both ends are allowed, and what is beyond them is named."""
        port = whole_number(1, 9)
        self.assertEqual((port.read("1"), port.read("9")), (1, 9))
        self.assertEqual(self.refused(port, "0"), "must be at least 1, not 0")
        self.assertEqual(self.refused(port, "10"), "must be at most 9, not 10")
        self.assertEqual(self.refused(port, "1.5"), "must be a whole number, not '1.5'")

    def test_milliseconds_are_seconds_inside(self) -> None:
        """A default is written as the user writes it."""
        kind = milliseconds()
        self.assertEqual((kind.read("1500"), kind.write(1.5)), (1.5, "1500"))

    def test_a_choice_names_what_there_is(self) -> None:
        """Any other text is refused."""
        self.assertEqual(choice("a", "b").read("b"), "b")
        self.assertEqual(self.refused(choice("a", "b", "c"), "d"), "must be a, b or c, not 'd'")

    def test_flags_are_read_from_files_too(self) -> None:
        """As people write them; nothing else is taken for false."""
        self.assertEqual([FLAG.read(text) for text in ("true", "Off", "1")], [True, False, True])
        self.assertEqual(self.refused(FLAG, "maybe"), "must be true or false, not 'maybe'")

    def test_files_are_absolute(self) -> None:
        """A daemon changes its directory; - stays standard output where a log goes."""
        self.assertEqual(FILE.read("a"), os.path.abspath("a"))
        self.assertEqual(LOG_FILE.read("-"), "-")


class ValuesTests(SynchronousTestCase):
    """What was given, and the defaults."""

    TABLE = OptionTable(
        (
            Option("number", "S", "A number.", whole_number(), 4, "part.number"),
            Option("word", "S", "A word.", repeatable=True, target="words"),
        )
    )

    def test_defaults_and_targets(self) -> None:
        """A value goes where its row says."""
        values = Values(self.TABLE, {"word": Given("--word", ("a", "b"))})
        self.assertEqual(values.targets("part"), {"number": 4})
        self.assertEqual(values.targets(""), {"words": ("a", "b")})
        self.assertEqual((values.is_given("word"), values.is_given("number")), (True, False))

    def test_an_error_names_the_option_as_it_was_written(self) -> None:
        """A key of a file is not called by the name of the command line."""
        given = {"number": Given("number in app.toml", ("x",))}
        error = self.assertRaises(ConfigurationError, Values, self.TABLE, given)
        self.assertEqual(str(error), "number in app.toml must be a whole number, not 'x'")
        values = Values(self.TABLE, {}, prefix="")
        error = self.assertRaises(ConfigurationError, values.read, "word", int, "x")
        self.assertTrue(str(error).startswith("word: invalid literal"))

    def test_two_rows_of_one_name_are_a_mistake(self) -> None:
        """A table cannot be made of them."""
        self.assertRaises(ValueError, OptionTable, (self.TABLE.rows[0], self.TABLE.rows[0]))


class RowTests(SynchronousTestCase):
    """The rows of zkserve."""

    def test_every_target_is_a_field_of_the_configuration(self) -> None:
        """The value of a misspelled target would never be read."""
        for row in OPTIONS:
            if row.target:
                part, _, name = row.target.rpartition(".")
                self.assertIn(name, [field.name for field in fields(PARTS[part])], row.name)

    def test_every_default_can_be_written_and_read_again(self) -> None:
        """What the help shows is what a user may type."""
        for row in OPTIONS:
            if row.shown_default and not row.default_text:
                read = row.kind.read(row.shown_default)
                if row.kind is not FILE:
                    self.assertEqual(read, row.default, row.name)

    def test_letters_are_used_once(self) -> None:
        """Two options cannot have one letter."""
        letters = [row.short for row in OPTIONS if row.short]
        self.assertEqual(len(letters), len(set(letters)))
