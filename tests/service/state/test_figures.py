"""Tests for `zkservice.service.state.figures`: figures of workers are checked and added up."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import MessageError
from zkservice.service.state.figures import Sums, check_figures, totals_to_json
from zkservice.web import BOUNDS, ResponseTotals

VALUES = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(["http", "workers", "totals", "other"])


def told() -> dict[str, Any]:
    """What a worker tells after one request."""
    totals = ResponseTotals()
    totals.responses["GET", 200] = 1
    totals.waiting.add([0.001])
    totals.application.add([0.2])
    totals.refusals[400] = 1
    totals.exceptions["KeyError"] = 1
    figures: dict[str, Any] = {
        "http": {"connections": 1, "requests": 1, "draining": False},
        "workers": {"threads": 4, "completed": 1},
        "totals": totals_to_json(totals),
    }
    found: dict[str, Any] = json.loads(json.dumps(figures))
    return found


class CheckTests(SynchronousTestCase):
    """What cannot be added up is refused."""

    def test_figures_of_a_worker_are_valid(self) -> None:
        """Figures of a worker before and after its first request, with metrics and without."""
        for figures in ({}, told(), {**told(), "totals": None, "http": {"of_tomorrow": 1}}):
            check_figures(figures)

    def test_what_is_invalid_is_refused(self) -> None:
        """Each change of one value makes it invalid."""
        for path, value in (
            (["http"], "text"),
            (["http", "requests"], -1),
            (["http", "requests"], 1 << 70),
            (["http", "x" * 100], 1),
            (["http"], {str(number): 1 for number in range(1000)}),
            (["workers", "completed"], []),
            (["totals", "responses"], [["GET", 200, 1]] * 2000),
            (["totals", "responses"], [["G" * 100, 200, 1]]),
            (["totals", "responses"], [["\ud800", 200, 1]]),
            (["totals", "responses"], [["GET", "200", 1]]),
            (["totals", "responses"], [1]),
            (["totals", "waiting"], [[1], 1.0]),
            (["totals", "waiting"], [[0] * (len(BOUNDS) + 1), float("nan")]),
            (["totals", "body_bytes"], None),
            (["totals", "request_bytes"], -1),
            (["totals", "refusals"], [["400", 1]]),
            (["totals", "refusals"], [[400, 1]] * 200),
            (["totals", "exceptions"], {"KeyError": 1.5}),
            (["totals", "exceptions"], {"\ud800": 1}),
            (["totals", "exceptions"], {str(number): 1 for number in range(200)}),
            (["totals", "lag"], None),
            (["totals", "examples"], [[1, "a\nb", 0.1, 1.0]]),
            (["totals", "examples"], [[1, 2, 0.1, 1.0]]),
            (["totals", "examples"], [[999, "a", 0.1, 1.0]]),
            (["totals", "examples"], [[1, "a", float("nan"), 1.0]]),
            (["totals", "examples"], [[1, "a", 0.1, 1.0]] * 200),
        ):
            figures = copy.deepcopy(told())
            place = figures
            for name in path[:-1]:
                place = place[name]
            place[path[-1]] = value
            with self.assertRaises(MessageError, msg=f"{path} {value!r:.80}"):
                check_figures(figures)

    @given(st.dictionaries(NAMES, VALUES, max_size=3))
    def test_what_is_not_refused_can_be_added_up(self, figures: dict[str, Any]) -> None:
        """No figures make the sums fail, also after the worker has ended."""
        try:
            check_figures(figures)
        except MessageError:
            return
        sums = Sums()
        sums.keep(figures)
        sums.http([figures])
        sums.workers([figures])
        sums.totals([figures])
