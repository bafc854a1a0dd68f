"""Tests for `zkservice.service.application.http_factory`: invalid views are refused at once."""

from __future__ import annotations

import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.web.support import InlineWorkers
from zkservice.errors import ConfigurationError
from zkservice.service.application.http_factory import BuiltIn, Logs, make_factory
from zkservice.service.config import FrontEnd


async def awaited(environ: Any, start_response: Any) -> None:
    """A coroutine: it looks like a view, but is invalid."""


class ViewTests(SynchronousTestCase):
    """Views by their names."""

    @override
    def setUp(self) -> None:
        self.addCleanup(sys.path.__setitem__, slice(None), list(sys.path))

    def refused(self, name: str) -> str:
        """Why a view is refused."""
        front_end = FrontEnd(views=(("/view", name),))
        workers: Any = InlineWorkers(lambda: 0.0)
        with self.assertRaises(ConfigurationError) as caught:
            make_factory(
                front_end, lambda *_: [], workers, Logs(front_end), None, BuiltIn(lambda server: {})
            )
        message = str(caught.exception)
        self.assertTrue(message.startswith(f"the view {name} for /view "), message)
        self.assertNotIn("\n", message)
        return message

    def test_an_unknown_name_is_reported(self) -> None:
        """A name that cannot be imported is reported."""
        self.assertIn("cannot be loaded", self.refused("no.such.view"))
        self.assertIn("cannot be loaded", self.refused("os.no_such_view"))

    def test_a_view_must_be_callable(self) -> None:
        """A view that is not callable is refused."""
        self.assertIn("is not callable", self.refused("os.sep"))

    def test_a_function_of_text_says_what_makes_it_a_view(self) -> None:
        """A function that returns text is refused; the error says how to make it a view."""
        self.assertIn("zkservice.web.TextView", self.refused("os.getcwd"))

    def test_a_coroutine_function_is_refused(self) -> None:
        """Nobody would await it."""
        self.assertIn("is a coroutine function", self.refused(f"{__name__}.awaited"))
