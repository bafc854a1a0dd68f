"""The simulation itself: it repeats itself, finds planted bugs, and makes failures small."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import count
from pathlib import Path
from time import monotonic, process_time
from typing import Any

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests import effort
from tests.simulation import campaign
from tests.simulation.bounds import EACH_CONNECTION, MANY, STATED, exceeded, most
from tests.simulation.campaign import LONG, Figures, run_seed
from tests.simulation.choices import Choices
from tests.simulation.history import Register, Seen
from tests.simulation.invariants import INVARIANTS
from tests.simulation.plants import PLANTS, WHERE
from tests.simulation.run import Run, crashed
from tests.simulation.shrink import shrink
from tests.simulation.states import SOMETIMES
from tests.test_bounds import stated
from zkservice.wire.records import Stat

ROOT = Path(__file__).parents[2]
#: Seconds of the processor that a planted bug may stay hidden.
FOUND_WITHIN = 600.0


def stat(mzxid: int, version: int) -> Stat:
    """What a server says of a znode."""
    return Stat._make((1, mzxid, 0, 0, version, 0, 0, 0, 0, 0, 1))


class RunTests(SynchronousTestCase):
    """A few whole runs."""

    @override
    def tearDown(self) -> None:
        self.flushLoggedErrors()  # faults log errors; those that nothing explains are violations

    def test_every_invariant_holds(self) -> None:
        """A few fixed seeds; a campaign runs fresh ones."""
        for seed in range(1, 1 + effort(4, 1)):
            outcome = Run(seed).run()
            self.assertIsNone(outcome.violation, outcome)

    def test_the_seed_decides_the_history(self) -> None:
        """Byte by byte, in this process and in one that hashes otherwise."""
        outcome = Run(9).run()
        self.assertGreater(len(outcome.history), 50)
        self.assertNotEqual(Run(8).run().digest, outcome.digest)
        self.assertEqual(Run(9).run().history, outcome.history)
        for seed in ("0", "1")[: effort(2, 1)]:
            told = subprocess.run(
                [sys.executable, "-m", "tests.simulation", "--seed", "9"],
                env={**os.environ, "PYTHONHASHSEED": seed},
                stdout=subprocess.PIPE,
                check=True,
                timeout=600,
            ).stdout
            self.assertIn(f"history {outcome.digest}".encode(), told)

    def test_nothing_of_a_run_stays(self) -> None:
        """A night has thousands of runs; processes that were killed remove nothing themselves."""
        observers = list(globalLogPublisher._observers)
        outcome = Run(3, only=["service"]).run()
        self.assertIn("process killed", outcome.states)
        self.assertEqual(globalLogPublisher._observers, observers)


#: Seeds that find the bugs which the first few seeds do not: the search begins there.
FINDS = {"registration": 6, "agent": 9}


class PlantTests(SynchronousTestCase):
    """A bug that is planted is found by the runs of its own workload."""

    @override
    def tearDown(self) -> None:
        self.flushLoggedErrors()

    def found(self, name: str) -> bool:
        """Whether it is found soon enough."""
        began = process_time()
        for seed in count(FINDS.get(name, 0)):
            if run_seed(seed, name, [WHERE[name]]).violation is not None:
                return True
            if process_time() > began + FOUND_WITHIN:
                return False
        raise AssertionError

    def test_registration(self) -> None:
        """It does not register again in a new session."""
        self.assertTrue(self.found("registration"))

    def test_lock(self) -> None:
        """It does not wait for its turn."""
        self.assertTrue(self.found("lock"))

    def test_queue(self) -> None:
        """Items are not deleted together with their reservations."""
        self.assertTrue(self.found("queue"))

    def test_drain(self) -> None:
        """Requests that run are cut off."""
        self.assertTrue(self.found("drain"))

    def test_watches(self) -> None:
        """They are not set again on a new connection."""
        self.assertTrue(self.found("watches"))

    def test_agent(self) -> None:
        """A POST is sent again."""
        self.assertTrue(self.found("agent"))

    def test_sharer(self) -> None:
        """A reader holds a lock beside a writer."""
        self.assertTrue(self.found("sharer"))

    def test_taker(self) -> None:
        """Two consumers take one item."""
        self.assertTrue(self.found("taker"))

    def test_barrier(self) -> None:
        """Clients pass a barrier that stands."""
        self.assertTrue(self.found("barrier"))

    def test_meeting(self) -> None:
        """Members enter a double barrier before all are there."""
        self.assertTrue(self.found("meeting"))

    def test_owner(self) -> None:
        """A client has no credentials after a reconnect."""
        self.assertTrue(self.found("owner"))

    def test_leak(self) -> None:
        """A container grows."""
        self.assertTrue(self.found("leak"))

    def test_forget(self) -> None:
        """A server keeps the watches of closed connections."""
        self.assertTrue(self.found("forget"))

    def test_every_plant_has_a_test(self) -> None:
        """And a workload in which its effect shows."""
        tests = {name.removeprefix("test_") for name in dir(self) if name.startswith("test_")}
        self.assertLessEqual(set(PLANTS), tests)
        self.assertEqual(set(PLANTS), set(WHERE))


class CampaignTests(SynchronousTestCase):
    """A campaign goes on whatever a run does, and says why it has failed."""

    def test_run_that_raises_has_failed(self) -> None:
        """Its error is the finding."""

        def run(self: object) -> None:
            raise ZeroDivisionError("planted")

        self.patch(Run, "run", run)
        outcome = run_seed(7)
        self.assertEqual(outcome.seed, 7)
        self.assertIn("ZeroDivisionError: planted", str(outcome.violation))

    def test_run_that_never_ends_has_failed(self) -> None:
        """It is interrupted."""

        def run(self: object) -> None:
            while True:
                pass

        self.patch(Run, "run", run)
        self.assertIn("more than 0.05 s", str(run_seed(7, limit=0.05).violation))

    def test_process_that_dies_is_a_finding(self) -> None:
        """With several processes; without memory, for example, one is killed."""

        class Dying(ThreadPoolExecutor):
            def submit(self, *args: Any, **named: Any) -> Any:
                failed: Future[None] = Future()
                failed.set_exception(BrokenProcessPool("killed"))
                return failed

        self.patch(campaign, "ProcessPoolExecutor", Dying)
        (outcome,) = campaign.outcomes([7], 2, monotonic() + 60)
        self.assertEqual(outcome.seed, 7)
        self.assertIn("BrokenProcessPool", str(outcome.violation))

    def test_figures_are_bounded(self) -> None:
        """Thousands of failures are counted, and a few are kept, without what is long."""
        self.patch(campaign, "KEPT", 3)
        figures = Figures()
        for seed in range(5):
            figures.add(crashed(seed, "planted"))
        self.assertEqual((figures.failures, len(figures.failed)), (5, 3))
        outcome = run_seed(1, only=["register"])
        self.assertEqual((outcome.history, outcome.decisions), ([], []))

    def test_long_campaign_must_reach_each_state(self) -> None:
        """A short one need not; a long one fails with the names of those that it has not."""
        figures = Figures(states=Counter(SOMETIMES[1:]))
        self.assertEqual(figures.complaints(60.0), [])
        self.assertEqual(figures.complaints(LONG), [f"never reached: {SOMETIMES[0]}"])
        figures.states[SOMETIMES[0]] += 1
        self.assertEqual(figures.complaints(LONG), [])
        figures.add(crashed(1, "planted"))
        self.assertEqual(figures.complaints(60.0), ["1 seeds failed"])


class BoundsTests(SynchronousTestCase):
    """Containers are compared with their bounds."""

    def test_long_container_is_found(self) -> None:
        """Of an object of the package, by the name of its class and attribute."""
        hoard: Any = type("HeadWriter", (), {"__module__": "zkservice.tests"})()
        hoard._known = [0] * STATED["HeadWriter._known"]

        def found() -> list[str]:
            # Objects of other tests may still be there, too.
            return [text for text in exceeded(0) if text.startswith("HeadWriter")]

        self.assertEqual(found(), [])
        hoard._known.append(0)
        self.assertEqual(found(), ["HeadWriter._known has 513 entries"])

    def test_names_are_those_of_the_manual(self) -> None:
        """A bound is of something that exists."""
        self.assertLessEqual({*STATED, *EACH_CONNECTION}, stated())
        self.assertGreater(most("OpenConnections.accepted", 1000), 1000)
        self.assertEqual(most("Subscribers._callbacks", 0), MANY)


class DocumentationTests(SynchronousTestCase):
    """The manual says what must hold."""

    def test_invariants_are_documented(self) -> None:
        """Each with its sentence."""
        text = " ".join((ROOT / "docs" / "reliability.rst").read_text(encoding="utf-8").split())
        for name, sentence in INVARIANTS.items():
            self.assertIn(f"{name} {sentence}", text)


class ShrinkTests(SynchronousTestCase):
    """Decisions are taken out as long as the failure stays."""

    def test_few_of_many_are_kept(self) -> None:
        """Those that are needed, and no others."""
        decisions = [f"order@{second}" for second in range(40)] + [
            f"fault#{number}" for number in range(60)
        ]
        needed = {"order@7", "fault#3", "fault#41"}
        kept = shrink(decisions, lambda some: needed <= set(some), 60)
        self.assertEqual(set(kept), needed)

    def test_decisions_do_not_depend_on_others(self) -> None:
        """What is left out changes nothing about the rest."""
        whole, part = Choices(1), Choices(1, {"b"})
        self.assertIsNotNone(whole.event("a"))
        self.assertIsNone(part.event("a"))
        first, second = whole.event("b"), part.event("b")
        assert first is not None and second is not None
        self.assertEqual(first.random(), second.random())

    def test_calm_noise_changes_nothing(self) -> None:
        """In order, whole, and as fast as it can be."""
        noise, things = Choices(1, ()).noise("order", 5.0), [1, 2, 3]
        noise.shuffle(things)
        self.assertEqual(
            (things, noise.portion(9), noise.delay(1.0, 2.0), noise.chance(1.0), noise.tie()),
            ([1, 2, 3], 9, 1.0, False, 0.0),
        )


class HistoryTests(SynchronousTestCase):
    """The checks of what clients have seen find what is wrong."""

    @override
    def setUp(self) -> None:
        self.found: list[str] = []
        self.register = Register("/r", self.violated)

    def violated(self, name: str, detail: str) -> None:
        """An invariant does not hold."""
        self.found.append(name)

    def test_good_history(self) -> None:
        """Writes in order, read after them."""
        write = self.register.writing(b"1", -1)
        self.register.written(write, stat(10, 1))
        self.register.read(b"1", stat(10, 1), self.register.called())
        again = self.register.writing(b"2", 1)
        self.register.written(again, stat(11, 2))
        self.assertEqual(self.found, [])

    def test_write_before_its_call(self) -> None:
        """A confirmed write must not be older than what had ended when it was called."""
        self.register.written(self.register.writing(b"1", -1), stat(10, 1))
        self.register.written(self.register.writing(b"2", -1), stat(9, 2))
        self.assertEqual(self.found, ["linear"])

    def test_version_that_was_not_compared(self) -> None:
        """A write that expects version 1 makes version 2."""
        self.register.written(self.register.writing(b"1", 1), stat(10, 7))
        self.assertEqual(self.found, ["linear"])

    def test_two_values_of_one_version(self) -> None:
        """A version has one value."""
        self.register.written(self.register.writing(b"1", -1), stat(10, 1))
        self.register.writing(b"2", -1)
        self.register.read(b"2", stat(10, 1), 0)
        self.assertEqual(self.found, ["linear"])

    def test_failed_write_that_is_read(self) -> None:
        """What has certainly failed is never seen; neither is what was never written."""
        self.register.not_written(self.register.writing(b"1", -1))
        self.register.read(b"1", stat(10, 1), 0)
        self.register.read(b"5", stat(11, 2), 0)
        self.assertEqual(self.found, ["linear", "linear"])

    def test_old_read(self) -> None:
        """A read sees what was known when it was called."""
        self.register.written(self.register.writing(b"1", -1), stat(10, 1))
        floor = self.register.called()
        self.register.read(b"", stat(9, 0), floor)
        self.assertEqual(self.found, ["linear"])

    def test_order_of_calls(self) -> None:
        """Calls end in their order, and transactions do not go back."""
        seen = Seen("c", self.violated)
        first, second = seen.call(), seen.call()
        seen.ended(second, "/r", stat(10, 1))
        seen.ended(first, "/r", stat(9, 0))
        self.assertEqual(self.found, ["order", "zxid"])

    def test_data_before_the_event(self) -> None:
        """While a watch has not fired, its client sees nothing newer."""
        seen = Seen("c", self.violated)
        seen.watching["/r"] = 10
        seen.ended(seen.call(), "/r", stat(10, 1))
        self.assertEqual(self.found, [])
        seen.ended(seen.call(), "/r", stat(11, 2))
        self.assertEqual(self.found, ["event first"])
