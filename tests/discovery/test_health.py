"""Tests of `zkservice.discovery.health`: ejection and slow start, on a clock."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.discovery import HealthRules, Provider
from zkservice.discovery.health import ProviderHealth, ProviderRecord


def providers(hosts: str, weight: float = 1.0) -> dict[str, Provider]:
    """Providers by address, a host for each letter."""
    return {f"{host}:80": Provider(host, 80, {}, weight) for host in hosts}


class HealthTestCase(SynchronousTestCase):
    """Four providers."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.health = ProviderHealth(HealthRules(), "/svc", self.clock)
        self.health.update(providers("abcd"))

    def hosts(self, *tried: str) -> str:
        """The addresses of the candidates."""
        return "".join(one.provider.host for one in self.health.candidates(tried))

    def record(self, host: str) -> ProviderRecord:
        """The record of a provider."""
        return self.health._records[f"{host}:80"]

    def fail(self, host: str, times: int = 2) -> None:  # type: ignore[override]
        """Record failures of a provider."""
        for _ in range(times):
            self.health.use(self.record(host)).failed()


class EjectionTests(HealthTestCase):
    """Providers that fail."""

    def test_one_failure_is_no_reason(self) -> None:
        """A single failure between successes ejects no provider."""
        for _ in range(5):
            self.fail("a", 1)
            self.health.use(self.record("a")).succeeded()
        self.assertEqual(self.hosts(), "abcd")

    def test_failures_in_a_row_eject(self) -> None:
        """After two failures a provider is not used for five seconds; the log says so."""
        with capturedLogs() as events:
            self.fail("a")
        self.assertEqual(self.hosts(), "bcd")
        self.assertEqual([event["address"] for event in events], ["a:80"])
        self.clock.advance(4.9)
        self.assertEqual(self.hosts(), "bcd")
        self.clock.advance(0.2)
        self.assertEqual(self.hosts(), "abcd")

    def test_pauses_grow_and_are_bounded(self) -> None:
        """Each ejection in a row lasts twice as long, five minutes at most."""
        self.fail("a")
        pauses = []
        for _ in range(9):
            start = self.clock.seconds()
            pauses.append(self.record("a").ejected_until - start)
            self.clock.advance(pauses[-1])
            self.assertEqual(self.hosts(), "abcd")
            self.fail("a", 1)
        self.assertEqual(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300])

    def test_successes_shorten_the_pauses(self) -> None:
        """Each success shortens the next ejection."""
        self.fail("a")
        self.clock.advance(5)
        self.health.use(self.record("a")).succeeded()
        self.fail("a")
        self.assertEqual(self.record("a").ejected_until - self.clock.seconds(), 5)

    def test_at_most_half_are_ejected(self) -> None:
        """At most half of the providers are ejected."""
        for host in "abcd":
            self.fail(host, 5)
        self.assertEqual(self.hosts(), "cd")

    def test_the_only_one_stays(self) -> None:
        """A single provider is never ejected."""
        self.health.update(providers("a"))
        self.fail("a", 10)
        self.assertEqual(self.hosts(), "a")

    def test_ejected_ones_are_the_last_resort(self) -> None:
        """An ejected provider is a candidate when all others were tried."""
        self.fail("a")
        self.assertEqual(self.hosts("b:80", "c:80", "d:80"), "a")
        self.assertEqual(self.hosts("a:80", "b:80", "c:80", "d:80"), "")

    def test_late_failures_of_one_that_left_do_not_count(self) -> None:
        """A use may end after its provider is deregistered."""
        use = self.health.use(self.record("a"))
        self.health.update(providers("bcd"))
        self.health.update(providers("abcd"))
        use.failed()
        self.assertEqual(self.record("a").failures, 0)

    def test_uses_are_counted_once(self) -> None:
        """Ending a use again has no effect."""
        use = self.health.use(self.record("a"))
        self.assertEqual(self.record("a").in_use, 1)
        use.succeeded()
        use.ended()
        use.ended()
        use.failed()
        self.assertEqual((self.record("a").in_use, self.record("a").failures), (0, 0))


class SlowStartTests(HealthTestCase):
    """Providers that are new."""

    def weights(self) -> dict[str, float]:
        """The weights of the candidates."""
        return {one.provider.host: one.weight for one in self.health.candidates()}

    def test_first_ones_are_not_new(self) -> None:
        """The first providers have their full weight."""
        self.assertEqual(set(self.weights().values()), {1.0})

    def test_new_one_grows(self) -> None:
        """A new provider has a tenth of its weight at first, half after 5 s, all after 10 s."""
        self.health.update(providers("abcde", 4.0))
        self.assertAlmostEqual(self.weights()["e"], 0.4)
        self.clock.advance(5)
        self.assertAlmostEqual(self.weights()["e"], 2.0)
        self.clock.advance(5)
        self.assertEqual(set(self.weights().values()), {4.0})
        self.assertEqual(self.health._changing, set())

    def test_slow_start_can_be_left_out(self) -> None:
        """With slow_start=0 a new one is like the others."""
        self.health = ProviderHealth(HealthRules(slow_start=0), "/svc", self.clock)
        self.health.update(providers("a"))
        self.health.update(providers("ab"))
        self.assertEqual(self.weights(), {"a": 1.0, "b": 1.0})

    def test_changed_weight_counts_at_once(self) -> None:
        """A provider that changes its weight is not new."""
        self.health.update(providers("abcd", 2.0))
        self.assertEqual(set(self.weights().values()), {2.0})


class CandidatesTests(HealthTestCase):
    """The tuple that strategies get."""

    def test_same_tuple_until_something_changes(self) -> None:
        """The candidates are the same tuple until something changes."""
        ready = self.health.candidates()
        self.health.use(self.record("a")).succeeded()
        self.clock.advance(100)
        self.assertIs(self.health.candidates(), ready)
        self.fail("a")
        left = self.health.candidates()
        self.clock.advance(4.9)
        self.assertIs(self.health.candidates(), left)
        self.clock.advance(0.2)
        self.assertEqual(self.health.candidates(), ready)

    def test_weights_of_new_ones_grow_in_steps(self) -> None:
        """A hundred requests a second do not recompute the shares a hundred times."""
        self.health.update(providers("abcde"))
        tuples: list[tuple[ProviderRecord, ...]] = []
        for _ in range(1100):
            candidates = self.health.candidates()
            if not tuples or candidates is not tuples[-1]:
                tuples.append(candidates)
            self.clock.advance(0.01)
        self.assertLessEqual(len(tuples), 11)
        self.assertEqual(self.record("e").weight, 1.0)

    def test_new_weight_of_one_that_is_new(self) -> None:
        """A weight that changes does not end the slow start."""
        self.health.update(providers("abcde"))
        self.health.candidates()
        self.health.update(providers("abcde", 2.0))
        weights = {one.provider.host: one.weight for one in self.health.candidates()}
        self.assertEqual((weights["a"], weights["e"]), (2.0, 0.2))

    def test_crowd_that_fails_is_not_arranged_again_and_again(self) -> None:
        """In a large service, ejections do not each compute the candidates anew."""
        crowd = {f"h{number}:80": Provider(f"h{number}", 80) for number in range(2000)}
        self.health.update(crowd)
        tuples = {id(one): one for one in [self.health.candidates()]}
        for number in range(500):
            for _ in range(2):
                self.health.use(self.health._records[f"h{number}:80"]).failed()
            tuples[id(self.health.candidates())] = self.health.candidates()
            self.clock.advance(0.001)
        self.assertLessEqual(len(tuples), 5)
        self.clock.advance(0.2)
        self.assertEqual(len(self.health.candidates()), 1500)

    def test_few_that_fail_are_left_out_at_once(self) -> None:
        """With up to a hundred providers, an ejection changes the candidates at once."""
        self.health.update({f"h{number}:80": Provider(f"h{number}", 80) for number in range(100)})
        self.assertEqual(len(self.health.candidates()), 100)
        for number in range(10):
            for _ in range(2):
                self.health.use(self.health._records[f"h{number}:80"]).failed()
            self.assertEqual(len(self.health.candidates()), 99 - number)

    def test_tls_is_a_choice(self) -> None:
        """Candidates can be restricted by TLS; ejected ones are the last resort."""
        mixed = {
            f"{host}:80": Provider(host, 80, tls=tls)
            for host, tls in (("a", False), ("b", True), ("c", True), ("d", False))
        }
        self.health.update(mixed)
        for tls, expected in ((None, "abcd"), (True, "bc"), (False, "ad")):
            found = self.health.candidates(tls=tls)
            self.assertEqual("".join(one.provider.host for one in found), expected)
            self.assertIs(self.health.candidates(tls=tls), found)
        self.fail("b")
        self.assertEqual([one.provider.host for one in self.health.candidates(tls=True)], ["c"])
        self.fail("c")
        self.assertEqual(len(self.health.candidates(tls=True)), 2)
        self.assertEqual(len(self.health.candidates(["b:80"], tls=True)), 1)


class RulesTests(SynchronousTestCase):
    """Invalid rules."""

    def test_invalid_rules_are_refused(self) -> None:
        """Invalid rules raise `ValueError`."""
        for wrong in (
            {"failures": 0},
            {"pause": 0},
            {"pause": 10, "longest_pause": 5},
            {"slow_start": -1},
        ):
            with self.assertRaises(ValueError):
                HealthRules(**wrong)
