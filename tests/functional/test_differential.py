"""Random conversations with the embedded and with a real server: both must say the same."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.embedded.differential import Server, SocketLine, embedded_lines
from tests.embedded.raw_client import started
from tests.embedded.strategies import PARTIES, calls, calls_since_3_9, settled, watch_calls
from tests.embedded.test_quotas import OPEN, STATS, quota
from zkservice.testing.apache import ApacheZooKeeper, require_apache
from zkservice.wire.acl import OPEN_ACL_UNSAFE
from zkservice.wire.records import (
    CreateRequest,
    DeleteRequest,
    GetDataRequest,
    SetDataRequest,
)


class Comparison(SynchronousTestCase):
    """The embedded server and Apache's, three clients each, the same words to both."""

    event_zxids = False  # whether the headers of events are compared, too

    @override
    def setUp(self) -> None:
        require_apache()
        self.apache_server = ApacheZooKeeper()
        self.addCleanup(self.apache_server.remove)
        self.apache_server.start()
        self.lines = [SocketLine(self.apache_server.port) for _ in range(PARTIES)]
        for line in self.lines:
            self.addCleanup(line.close)
        self.real = Server(self.lines, event_zxids=self.event_zxids)
        self.release = self.apache_server.version
        server, _ = started(tick_time=0.5, **self.embedded_options())
        self.ours = Server(embedded_lines(server, PARTIES), event_zxids=self.event_zxids)
        self.number = 0

    def embedded_options(self) -> dict[str, Any]:
        """What the embedded server is made with, beside the length of its ticks."""
        return {}

    def say(self, party: int, request: Any) -> None:
        """Say it to both and compare all that anybody hears."""
        ours = self.ours.exchange(party, request)
        theirs = self.real.exchange(party, request)
        for number, (mine, real) in enumerate(zip(ours, theirs, strict=True)):
            if mine != real:
                self.fail(
                    f"{party} said {request!r}; {number} heard\n{mine!r} of the embedded server\n"
                    f"{real!r} of the real one"
                )

    def converse(self, speech_of: st.SearchStrategy[tuple[int, Any]]) -> int:
        """Hold random conversations; returns how many requests were compared."""
        spoken = 0

        @settings(
            max_examples=60,
            phases=[Phase.generate],  # what both servers remember makes shrinking pointless
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(speech_of, min_size=40, max_size=60))
        def converse(speech: list[tuple[int, Any]]) -> None:
            nonlocal spoken
            self.number += 1
            root = f"/conversation-{self.number}"
            self.say(0, CreateRequest(root, b"", list(OPEN_ACL_UNSAFE), 0))
            for party, request in speech:
                self.say(party, settled(request, root))
                spoken += 1

        converse()
        return spoken


class ComparisonTests(Comparison):
    """The server as it is."""

    def test_two_thousand_operations(self) -> None:
        """Replies, errors, events, Stats, even the transactions' numbers are the same."""
        known = calls if self.release < (3, 9) else calls_since_3_9
        self.assertGreaterEqual(self.converse(known), 2000)


class WatchComparisonTests(Comparison):
    """The server with the watches of the release that it is compared with."""

    event_zxids = True

    @override
    def embedded_options(self) -> dict[str, Any]:
        return {"watch_semantics": "3.8" if self.release < (3, 9) else "3.9"}

    def test_watches_of_several_modes_at_one_path(self) -> None:
        """Each request leaves the same watches, and each change makes the same events."""
        self.assertGreaterEqual(self.converse(watch_calls), 2000)


class QuotaComparisonTests(SynchronousTestCase):
    """Hard quotas."""

    def test_counters_and_errors_are_the_same(self) -> None:
        """Errors, counters and everything else."""
        require_apache()
        with ApacheZooKeeper(configuration={"enforceQuota": "true"}) as apache:
            line = SocketLine(apache.port)
            self.addCleanup(line.close)
            server, _ = started(enforce_quota=True)
            both = [Server([line]), Server(embedded_lines(server, 1))]
            limits = b"count=3,bytes=-1=;byteHardLimit=12;countHardLimit=4"
            for request in [
                CreateRequest("/a", b"abc", OPEN, 0),
                *quota("/a", limits),
                CreateRequest("/a/b", b"1234", OPEN, 0),
                SetDataRequest("/a/b", b"1234567890", -1),
                SetDataRequest("/a/b", b"1234567890", 77),
                CreateRequest("/a/c", b"1234", OPEN, 2),
                CreateRequest("/a/d", b"12", OPEN, 1),
                CreateRequest("/a/d", b"", OPEN, 1),
                CreateRequest("/a/e", b"", OPEN, 0),
                DeleteRequest("/a/b", -1),
                CreateRequest("/a/e", b"", OPEN, 0),
                SetDataRequest("/a/e", b"1", -1),
            ]:
                for one in (request, GetDataRequest(STATS, False)):
                    theirs, ours = (server.exchange(0, one) for server in both)
                    self.assertEqual(ours, theirs, one)


del Comparison  # not to be run by itself
