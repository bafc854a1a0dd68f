"""Tests for `zkservice.service.process.gil`."""

from __future__ import annotations

import sys
import warnings
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from zkservice.service.process.gil import GilReport, gil_enabled

WARNING = (
    "The global interpreter lock (GIL) has been enabled to load module '{}', which has not "
    "declared that it can run safely without the GIL."
)


class GilTests(SynchronousTestCase):
    """A Python that can be without a GIL, whatever runs the tests."""

    def enabled(self, on: bool, forced: int | None = None) -> None:
        """Have the interpreter say so."""
        self.patch(sys, "flags", SimpleNamespace(gil=forced))
        if hasattr(sys, "_is_gil_enabled"):
            self.patch(sys, "_is_gil_enabled", lambda: on)
        else:
            sys._is_gil_enabled = lambda: on  # type: ignore[attr-defined]
            self.addCleanup(delattr, sys, "_is_gil_enabled")

    def test_a_python_with_a_gil_needs_no_line(self) -> None:
        """Nothing is logged, and loading is just loading."""
        report = GilReport(free_threaded=False)
        self.assertEqual(report.watch(lambda: 42), 42)
        self.assertIsNone(report.line())

    def test_off(self) -> None:
        """Without a GIL threads run in parallel."""
        self.enabled(False)
        self.assertFalse(gil_enabled())
        self.assertEqual(
            GilReport(free_threaded=True).line(), "the GIL is off: worker threads run in parallel"
        )

    def test_the_module_that_turned_it_on_is_named(self) -> None:
        """The first one is named, and its warning is still shown."""
        self.enabled(True)
        shown: list[str] = []
        self.patch(warnings, "showwarning", lambda message, *_, **__: shown.append(str(message)))

        def load() -> str:
            for name in ("_slow", "_other"):
                warnings.warn(WARNING.format(name), RuntimeWarning, stacklevel=1)
            return "application"

        report = GilReport(free_threaded=True)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            # What catch_warnings has put there is what is to be wrapped.
            warnings.showwarning = lambda message, *_, **__: shown.append(str(message))
            self.assertEqual(report.watch(load), "application")
        self.assertEqual(shown, [WARNING.format("_slow"), WARNING.format("_other")])
        self.assertIn("module '_slow' turned it on", report.line() or "")

    def test_other_warnings_name_no_module(self) -> None:
        """A module that was imported before has no name here."""
        self.enabled(True)
        report = GilReport(free_threaded=True)
        report.watch(lambda: None)
        self.assertIn("which was imported early, turned it on", report.line() or "")

    def test_the_user_can_turn_it_on(self) -> None:
        """PYTHON_GIL=1 is given as the reason."""
        self.enabled(True, forced=1)
        self.assertIn("PYTHON_GIL=1", GilReport(free_threaded=True).line() or "")

    def test_the_hook_goes_when_loading_fails(self) -> None:
        """An application that cannot be loaded leaves nothing behind."""
        self.enabled(True)
        before = warnings.showwarning
        self.assertRaises(ZeroDivisionError, GilReport(free_threaded=True).watch, lambda: 1 // 0)
        self.assertIs(warnings.showwarning, before)
