"""What the tests of reliability have in common: processes, clients at work, figures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kazoo.client import KazooClient
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.functional.load import Counts, Load, Observer
from tests.functional.processes import Twistd, started_kazoo, wait_for
from tests.functional.shared_servers import Place, SharedApache, SharedEmbedded
from zkservice.testing.apache import ApacheZooKeeper

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
APPLICATION = os.path.join(ROOT, "tests", "functional", "reliability_app.py")
PROVIDERS = "/reliability/providers"
#: Milliseconds: no session expires only because the machine is busy.
LONG = 10_000
#: Milliseconds; the shortest that the servers grant, so that an expiry does not take long.
SHORT = 1500
#: Clients that follow the address have time to see it removed, even on a busy machine.
UNHURRIED = ("--drain-wait", "4000")


class Scene:
    """What a test works with: the observer of the addresses and the load."""

    def __init__(self, observer: Observer, load: Load) -> None:
        self.observer, self.load = observer, load
        self.began = time.monotonic()

    @property
    def counts(self) -> Counts:
        """What the clients have seen so far."""
        return self.load.counts

    @property
    def without(self) -> float:
        """Seconds without an address so far."""
        return self.observer.without(self.began)

    def gone(self) -> float:
        """Wait until no address is registered; answers how long that took."""
        return timed("no address is left", lambda: not self.observer.addresses)

    def back(self) -> float:
        """Wait until an address is registered; answers how long that took."""
        return timed("an address is there", lambda: bool(self.observer.addresses))


class ReliabilityCase(SynchronousTestCase):
    """Processes, observers and figures, with an embedded ZooKeeper that tests share."""

    server: Any

    @override
    def setUp(self) -> None:
        self.server = self.make_server()
        self.server.start()

    def make_server(self) -> Any:
        """A ZooKeeper that is not started yet."""
        return Place(SharedEmbedded.hosts)

    def hosts(self) -> str:
        """The connection string of the ZooKeeper that is used."""
        return str(self.server.connection_string)

    def kazoo(self) -> KazooClient:
        """A started independent client."""
        return started_kazoo(self, self.hosts())

    def words(self, *words: str, hosts: str = "", session: int = LONG) -> list[str]:
        """The command line of a ``zkserve``."""
        return [
            *("zkserve", "--zookeeper", hosts or self.hosts(), "--path", PROVIDERS),
            *("--session-timeout", str(session), *words, APPLICATION),
        ]

    def serve(self, *words: str, hosts: str = "", session: int = LONG) -> Twistd:
        """A process that ends with the test, registered."""
        command = self.words("--host", "127.0.0.1", *words, hosts=hosts, session=session)
        process = Twistd(self.mktemp(), *command)
        self.addCleanup(process.end)
        process.wait_for_log(r"Serving on \S+\n")
        return process

    @contextmanager
    def load(self, clients: int = 6, *, follow: bool = True) -> Iterator[Scene]:
        """Clients at work, from when they are answered on; some requests have been by then."""
        with Observer(self.hosts(), PROVIDERS) as observer:
            first = wait_for("the observer sees an address", lambda: observer.addresses)
            with Load(lambda: observer.addresses if follow else first, clients=clients) as load:
                wait_for("requests are answered", lambda: load.counts.sent > 20)
                scene = Scene(observer, load)
                yield scene
                time.sleep(0.3)
            self.last = scene

    def saw(self, **figures: object) -> None:
        """Say what was seen."""
        counts = self.last.counts
        row = {
            "sent": counts.sent,
            "failed": len(counts.lost),
            "refused": counts.refused,
            "errors": counts.errors,
            "slowest": round(counts.slowest, 3),
            "without": round(self.last.without, 3),
            **figures,
        }
        print(f"\n    {self._testMethodName}: " + " ".join(f"{k}={v}" for k, v in row.items()))

    def assert_all_answered(self) -> None:
        """No request was lost, no connection refused, nothing answered with an error."""
        counts = self.last.counts
        self.assertEqual((counts.lost, counts.refused, counts.errors), ([], 0, 0))


class SharedApacheCase(ReliabilityCase):
    """The same with Apache ZooKeeper; put it before another case to run that one's tests on it."""

    @override
    def make_server(self) -> Place:
        return Place(SharedApache.hosts)


class ApacheCase(ReliabilityCase):
    """With an Apache ZooKeeper that the test may kill."""

    @override
    def make_server(self) -> ApacheZooKeeper:
        server = ApacheZooKeeper()
        self.addCleanup(server.remove)
        return server


def timed(what: str, condition: Callable[[], bool]) -> float:
    """Wait for something; answers how many seconds it took.

    How long it may take is for hangs; how long it takes is for docs/reliability.rst, since a
    machine that does something else as well may stop anybody for a while.
    """
    began = time.monotonic()
    wait_for(what, condition, pause=0.002)
    return round(time.monotonic() - began, 3)
