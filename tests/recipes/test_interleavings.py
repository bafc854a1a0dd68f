"""Locks under everything that can happen, in any order."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.client.base import TIMEOUT
from tests.recipes.world import World
from zkservice.recipes import Lease, Lock

PATH = "/locks/one"

ACTIONS = ("contend", "cancel", "release", "drop", "expire", "time", "delete path")


class InterleavingTests(SynchronousTestCase):
    """Several contenders, and everything that can happen to them in any order."""

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2)), max_size=25), st.data())
    def test_never_two(self, script: list[tuple[str, int]], data: Any) -> None:
        """Never two hold it for certain, tokens rise, and in the end all get it."""
        Interleaving(self, data.draw(st.integers(0, 3))).run(script)


class Interleaving:
    """Three clients and a script."""

    def __init__(self, test: SynchronousTestCase, seed: int) -> None:
        self.test = test
        self.world = World(test, 3, seed=seed)
        self.network, self.server = self.world.network, self.world.server
        self.clients = self.world.clients
        self.waiting: list[tuple[int, Deferred[Lease]]] = []
        self.leases: list[tuple[int, Lease]] = []
        self.tokens: list[int] = []

    def run(self, script: list[tuple[str, int]]) -> None:
        """Follow the script, then let everything come to its end."""
        for action, number in script:
            getattr(self, "do_" + action.replace(" ", "_"))(number)
            self.check()
        self.world.wait(TIMEOUT * 2)
        self.check()
        for _ in range(len(self.waiting) + 1):
            for _, lease in self.leases:
                lease.release()
            self.world.wait()
            self.check()
        self.test.assertEqual(self.waiting, [])
        self.test.assertEqual(self.world.children(PATH), [])
        self.world.end()

    def do_contend(self, number: int) -> None:
        """One more; bytes move, or not yet."""
        acquiring = Lock(self.clients[number], PATH, reactor=self.network).acquire()
        self.waiting.append((number, acquiring))

        def got(lease: Lease) -> None:
            self.waiting.remove((number, acquiring))
            self.leases.append((number, lease))
            self.test.assertTrue(all(lease.token > token for token in self.tokens))
            self.tokens.append(lease.token)

        acquiring.addCallback(got)
        self.network.run_due()

    def do_cancel(self, number: int) -> None:
        """A client's first contender gives up."""
        for contender in self.waiting:
            if contender[0] == number:
                self.waiting.remove(contender)
                contender[1].addErrback(lambda failure: failure.trap(CancelledError))
                contender[1].cancel()
                break
        self.network.run_due()

    def do_release(self, number: int) -> None:
        """A client gives back what it has."""
        for owner, lease in self.leases:
            if owner == number:
                lease.release()
        self.network.settle()

    def do_drop(self, number: int) -> None:
        """A client's connection breaks, with all that is on its way."""
        self.server.drop(self.world.session(number))
        self.network.run_due()

    def do_expire(self, number: int) -> None:
        """A client's session ends."""
        self.server.expire(self.world.session(number))

    def do_time(self, number: int) -> None:
        """Some time goes by."""
        self.network.advance(number)

    def do_delete_path(self, number: int) -> None:
        """Somebody tidies up, if there is nothing left."""
        self.clients[number].delete(PATH).addErrback(lambda failure: None)
        self.network.settle()

    def check(self) -> None:
        """No two nodes that are leases' exist at a time."""
        alive = set(self.world.children(PATH))
        held = [
            lease
            for _, lease in self.leases
            if lease.held and lease.path.rpartition("/")[2] in alive
        ]
        self.test.assertLessEqual(len(held), 1)
