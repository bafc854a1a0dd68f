"""Tests of `zkservice.discovery.strategies`: each has the distribution that it states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.discovery import (
    STRATEGIES,
    LeastConnections,
    PreferZone,
    Provider,
    RandomChoice,
    RoundRobin,
    Strategy,
    TwoChoices,
)

CHOICES = 6000


class Load:
    """A candidate."""

    def __init__(self, host: str, weight: float = 1.0, zone: str = "") -> None:
        self.provider = Provider(host, 80, {}, weight, zone)
        self.weight = weight
        self.in_use = 0


def candidates(*weights: float) -> tuple[Load, ...]:
    """Candidates called a, b, c."""
    return tuple(Load("abcdefghij"[index], weight) for index, weight in enumerate(weights))


def chosen(strategy: Strategy, among: Sequence[Load], times: int = CHOICES) -> str:
    """The hosts that are chosen, one after another; connections stay open."""
    hosts = []
    for _ in range(times):
        one = strategy.choose(among)
        one.in_use += 1
        hosts.append(one.provider.host)
    return "".join(hosts)


class RoundRobinTests(SynchronousTestCase):
    """Weighted round robin."""

    def test_equal_weights_are_taken_in_turn(self) -> None:
        """Without weights it is plain round robin."""
        self.assertEqual(chosen(RoundRobin(lambda: 0.0), candidates(1, 1, 1), 7), "abcabca")

    def test_heavy_candidate_is_spread_out(self) -> None:
        """A weight of 5 beside two of 1 is not five choices in a row."""
        self.assertEqual(chosen(RoundRobin(lambda: 0.0), candidates(5, 1, 1), 7), "abaaaca")

    def test_processes_begin_at_different_candidates(self) -> None:
        """Many processes do not all begin with the same candidate."""
        random = Random(1).random
        first = Counter(chosen(RoundRobin(random), candidates(1, 1, 1), 1) for _ in range(900))
        self.assertEqual(len(first), 3)
        self.assertGreater(min(first.values()), 200)

    @given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 200), st.integers())
    def test_share_is_exact_but_for_two(self, weights: list[int], times: int, seed: int) -> None:
        """After any number of choices each has its share, plus or minus less than 2."""
        among = candidates(*weights)
        count = Counter(chosen(RoundRobin(Random(seed).random), among, times))
        for one in among:
            share = times * one.weight / sum(weights)
            self.assertLess(abs(count[one.provider.host] - share), 2)

    def test_candidates_that_leave_are_forgotten(self) -> None:
        """Its memory is bounded by the number of candidates."""
        strategy = RoundRobin(lambda: 0.0)
        chosen(strategy, candidates(1, 1, 1), 4)
        chosen(strategy, candidates(1), 1)
        self.assertEqual([len(group.queue) for group in strategy._groups.values()], [1])

    def test_places_in_the_queue_are_kept(self) -> None:
        """Changed candidates do not start the turns anew."""
        strategy, among = RoundRobin(lambda: 0.0), candidates(1, 1, 1, 1)
        self.assertEqual(chosen(strategy, among, 2), "ab")
        more = (*among, *candidates(*[1] * 5)[4:])
        self.assertEqual(chosen(strategy, more, 5), "cedab")

    def test_newcomers_do_not_come_first_everywhere(self) -> None:
        """A thousand processes do not all send their next request to the one that is new."""
        random, old = Random(1).random, candidates(1, 1, 1, 1)
        new = (*old, *candidates(*[1] * 5)[4:])
        taken = 0
        for _ in range(1000):
            strategy = RoundRobin(random)
            chosen(strategy, old, 3)
            taken += chosen(strategy, new, 1) == "e"
        self.assertLess(taken, 400)

    @given(
        st.lists(st.lists(st.sampled_from([0.1, 0.5, 1, 3]), min_size=1, max_size=6), max_size=9),
        st.integers(),
    )
    def test_shares_survive_changes(self, changes: list[list[float]], seed: int) -> None:
        """Whatever changed before, each has its share of the next choices within three."""
        strategy = RoundRobin(Random(seed).random)
        among = candidates(1)
        for weights in changes:
            among = candidates(*weights)
            chosen(strategy, among, seed % 7)
        count = Counter(chosen(strategy, among, 100))
        for one in among:
            share = 100 * one.weight / sum(each.weight for each in among)
            self.assertLess(abs(count[one.provider.host] - share), 3)

    def test_very_many_weights(self) -> None:
        """With more than 64 different weights it draws, by share."""
        among = tuple(Load(f"h{number}", 1 + number / 100) for number in range(100))
        count: Counter[str] = Counter()
        strategy = RoundRobin(Random(1).random)
        for _ in range(60_000):
            count[strategy.choose(among).provider.host] += 1
        total = sum(one.weight for one in among)
        for one in among:
            share = 60_000 * one.weight / total
            self.assertLess(abs(count[one.provider.host] - share), 0.2 * share)


class RandomTests(SynchronousTestCase):
    """Weighted random choice."""

    def test_share_is_the_probability(self) -> None:
        """Over 6,000 choices each share is met within 2 of 100."""
        count = Counter(chosen(RandomChoice(Random(1).random), candidates(1, 2, 3)))
        for host, share in zip("abc", (1 / 6, 2 / 6, 3 / 6), strict=True):
            self.assertLessEqual(abs(count[host] / CHOICES - share), 0.02)


class LeastConnectionsTests(SynchronousTestCase):
    """Least connections."""

    def test_open_connections_follow_the_weights(self) -> None:
        """Connections that stay open are spread by weight, plus or minus one."""
        among = candidates(1, 2, 3)
        chosen(LeastConnections(Random(1).random), among)
        for one, share in zip(among, (1000, 2000, 3000), strict=True):
            self.assertLessEqual(abs(one.in_use - share), 1)

    def test_slow_one_gets_less(self) -> None:
        """A candidate that keeps its connections gets no more."""
        among = candidates(1, 1)
        among[0].in_use = 5
        self.assertEqual(chosen(LeastConnections(lambda: 0.0), among, 5), "bbbbb")

    def test_equals_are_taken_at_random(self) -> None:
        """Processes without connections do not all begin with the first."""
        random = Random(1).random
        first = Counter(chosen(LeastConnections(random), candidates(1, 1), 1) for _ in range(200))
        self.assertGreater(min(first["a"], first["b"]), 70)

    def test_crowd_is_sampled(self) -> None:
        """Of ten thousand it compares sixteen, and still spreads them by weight."""
        among = tuple(Load(f"h{number}", 1 + number % 2) for number in range(1000))
        chosen(LeastConnections(Random(1).random), among, 15_000)
        for one in among:
            self.assertLess(abs(one.in_use - 10 * one.weight), 4, one.provider.host)


class TwoChoicesTests(SynchronousTestCase):
    """Two random choices."""

    def test_open_connections_stay_close_together(self) -> None:
        """With equal weights, the numbers of connections differ little."""
        among = candidates(*[1] * 10)
        chosen(TwoChoices(Random(1).random), among)
        loads = [one.in_use for one in among]
        self.assertLess(max(loads) - min(loads), 8)

    def test_fullest_is_never_chosen(self) -> None:
        """The candidate with the most connections is never chosen."""
        among = candidates(1, 1, 1, 1)
        among[2].in_use = 10 * CHOICES
        self.assertNotIn("c", chosen(TwoChoices(Random(1).random), among))

    def test_weights_count(self) -> None:
        """A candidate of weight 3 ends up with about three times the connections."""
        among = candidates(1, 3)
        chosen(TwoChoices(Random(1).random), among)
        self.assertLessEqual(abs(among[1].in_use / among[0].in_use - 3), 0.1)


class ZoneTests(SynchronousTestCase):
    """Zone preference."""

    def strategy(self) -> PreferZone:
        """A strategy that prefers zone x."""
        return PreferZone("x", RoundRobin(lambda: 0.0))

    def test_same_zone_is_used_alone(self) -> None:
        """Two in the zone are enough."""
        among = (Load("a", zone="x"), Load("b", zone="y"), Load("c", zone="x"), Load("d"))
        self.assertEqual(chosen(self.strategy(), among, 4), "acac")

    def test_thin_zone_is_helped_by_the_others(self) -> None:
        """One in the zone is not enough, nor are two of which one takes no work."""
        among = (Load("a", zone="x"), Load("b", zone="y"), Load("c", 0, zone="x"))
        self.assertEqual(chosen(self.strategy(), among, 4), "abab")


class EveryStrategyTests(SynchronousTestCase):
    """Properties of all strategies."""

    def test_weight_zero_gets_nothing(self) -> None:
        """A provider of weight 0 is not chosen while there is another."""
        for name, make in STRATEGIES.items():
            hosts = chosen(make(Random(1).random), candidates(1, 0, 2), 200)
            self.assertNotIn("b", hosts, name)

    def test_all_zero_are_equal(self) -> None:
        """If all weights are 0, all candidates are chosen."""
        for name, make in STRATEGIES.items():
            hosts = chosen(make(Random(1).random), candidates(0, 0), 200)
            self.assertGreater(min(Counter(hosts)["a"], Counter(hosts)["b"]), 60, name)

    def test_list_that_changes(self) -> None:
        """Computed shares are reused for the same tuple, never for a list."""
        for name, make in STRATEGIES.items():
            for strategy in (make(Random(1).random), PreferZone("x", make(Random(1).random))):
                among = list(candidates(1, 1))
                chosen(strategy, among, 3)
                among[:] = [Load("z")]
                self.assertEqual(chosen(strategy, among, 2), "zz", name)

    def test_a_single_candidate_is_chosen(self) -> None:
        """A single candidate is chosen, whatever its weight."""
        for name, make in STRATEGIES.items():
            for weight in (0, 0.001, 5):
                self.assertEqual(chosen(make(None), candidates(weight), 3), "aaa", name)
