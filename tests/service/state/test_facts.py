"""Tests of ``zkservice.service.state.facts``: the session and the registrations as plain values."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.connected import ConnectedTestCase
from zkservice.client import ZooKeeperClient
from zkservice.client.counters import LATENCY_BOUNDS, ClientCounters
from zkservice.errors import NoNodeError
from zkservice.registry import register
from zkservice.service.state.facts import (
    describe_registration,
    describe_session,
    describe_siblings,
    describe_tree,
    latency_quantile,
)


class FactsTests(ConnectedTestCase):
    """With an embedded server."""

    async def test_a_session_is_shown_without_its_password(self) -> None:
        """Its counters, its server and its latency; nothing that lets others take it over."""
        with self.assertRaises(NoNodeError):
            await self.client.get("/missing")
        found = describe_session(self.client)
        self.assertEqual(found["state"], "connected")
        self.assertEqual(found["server"], self.server.connection_string)
        self.assertEqual((found["reconnects"], found["expiries"]), (0, 0))
        self.assertEqual(found["errors"], {"NoNode": 1})
        self.assertGreaterEqual(found["silence"], 0)
        self.assertGreater(found["latency"]["p99"], 0)
        assert self.client.client_id is not None
        self.assertEqual(int(found["session"], 16), self.client.client_id[0])
        self.assertNotIn(self.client.client_id[1].hex(), json.dumps(found))
        self.assertNotIn("password", json.dumps(found))

    async def test_session_without_a_connection(self) -> None:
        """What is unknown is None, as JSON has no infinity."""
        found = describe_session(ZooKeeperClient("127.0.0.1:1"))
        self.assertEqual(
            (found["state"], found["session"], found["server"]), ("closed", None, None)
        )
        self.assertEqual((found["silence"], found["latency"]["p50"]), (None, None))
        json.dumps(found, allow_nan=False)

    async def test_registration_and_siblings(self) -> None:
        """This registration, and all that is registered beside it, the oldest first."""
        mine = register(self.client, "/svc", "h:2", {"color": "blue"})
        await mine.when_registered()
        other = register(self.client, "/svc", "h:1", {})
        await other.when_registered()
        found = describe_registration(mine)
        self.assertEqual((found["state"], found["addresses"]), ("registered", ["h:2"]))
        self.assertEqual((found["znodes"], found["reason"]), (["/svc/h:2"], ""))
        siblings, more = await describe_siblings(self.client, "/svc")
        self.assertEqual({each["path"] for each in siblings}, {"/svc/h:1", "/svc/h:2"})
        self.assertEqual(len({each["session"] for each in siblings}), 1)
        self.assertIn('"color"', "".join(each["data"] for each in siblings))
        self.assertEqual(more, 0)
        siblings, more = await describe_siblings(self.client, "/svc", 1)
        self.assertEqual((len(siblings), more), (1, 1))
        self.assertEqual(await describe_siblings(self.client, "/nothing"), ([], 0))

    async def test_parents_precede_children_within_a_bound(self) -> None:
        """Parents come before their children; what is too much is left out, and that is said."""
        for path in ("/a", "/a/b", "/a/b/c", "/a/d"):
            await self.client.create(path, b"x" * 3000)
        nodes, cut = await describe_tree(self.client, "/a")
        self.assertEqual(
            [(each["path"], each["depth"]) for each in nodes],
            [("/a", 0), ("/a/b", 1), ("/a/b/c", 2), ("/a/d", 1)],
        )
        self.assertEqual((len(nodes[0]["data"]), nodes[0]["size"], cut), (2000, 3000, False))
        for most in (1, 2, 3):
            nodes, cut = await describe_tree(self.client, "/a", most)
            self.assertEqual((len(nodes), cut), (most, True))
        with self.assertRaises(NoNodeError):
            await describe_tree(self.client, "/nothing")


class QuantileTests(SynchronousTestCase):
    """The quantile of a histogram."""

    @given(st.lists(st.floats(0, 20), min_size=1), st.floats(0.01, 1))
    def test_is_an_upper_bound(self, latencies: list[float], quantile: float) -> None:
        """So large a part of the replies took at most that, but for those beyond the last bound."""
        counters = ClientCounters()
        for seconds in latencies:
            counters.replied(seconds)
        found = latency_quantile(counters.latency, quantile)
        assert found is not None
        within = sum(min(seconds, LATENCY_BOUNDS[-1]) <= found for seconds in latencies)
        self.assertGreaterEqual(within, len(latencies) * quantile * (1 - 1e-9))

    def test_there_is_none_without_replies(self) -> None:
        """There is none."""
        self.assertIsNone(latency_quantile([0, 0], 0.5))
