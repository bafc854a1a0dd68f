"""Tests of `zkservice.client.Retrying`: the connection breaks at every step, and a rival writes.

The rival is another client that watches the node.  It counts each effect of the operation, and
reacts to it before the first client has reconnected.  The result of the operation must agree with
what the rival has seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.recipes.world import World, at_every_step, outcome
from zkservice.client import EventType, PersistentWatch, Retrying, WatchEvent, ZooKeeperClient
from zkservice.errors import BadVersionError, ConnectionLossError, NoNodeError, ZooKeeperError

PATH = "/a"

#: Begins what a rival does.
Reaction = Callable[[ZooKeeperClient], list[Deferred[Any]]]


def do_nothing(_: ZooKeeperClient) -> list[Deferred[Any]]:
    """Do not react."""
    return []


def write_on(rival: ZooKeeperClient) -> list[Deferred[Any]]:
    """Overwrite the data."""
    return [rival.set(PATH, b"theirs")]


def delete(rival: ZooKeeperClient) -> list[Deferred[Any]]:
    """Delete the node."""
    return [rival.delete(PATH)]


def create(rival: ZooKeeperClient) -> list[Deferred[Any]]:
    """Create a node in the place of the one that was deleted."""
    return [rival.create(PATH, b"theirs")]


def create_anew(rival: ZooKeeperClient) -> list[Deferred[Any]]:
    """Replace the node by a new one."""
    return [*delete(rival), *create(rival)]


def create_anew_and_write(rival: ZooKeeperClient) -> list[Deferred[Any]]:
    """Replace the node, and write, so that the versions are those that the operation expects."""
    return [*create_anew(rival), *write_on(rival)]


class Rival:
    """Counts the effects of the other client's operation, and reacts to each."""

    def __init__(self, world: World, reaction: Reaction) -> None:
        self._client = world.clients[0]
        self._reaction = reaction
        self._own_deletions = 0  # own deletions whose events have not arrived yet
        self.effects = 0
        world.result(self._client.create(PATH))
        self.watch: PersistentWatch = world.result(self._client.add_watch(PATH, self._saw))

    def _saw(self, event: WatchEvent) -> None:
        if event.type is EventType.DATA_CHANGED:
            self._client.get(PATH).addCallbacks(self._read, ignore)
        elif event.type is EventType.DELETED:
            self._own_deletions -= 1
            if self._own_deletions < 0:
                self._own_deletions = 0
                self._saw_effect()

    def _read(self, found: tuple[bytes, object]) -> None:
        if found[0] == b"mine":
            self._saw_effect()

    def _saw_effect(self) -> None:
        self.effects += 1
        self.act(self._reaction)

    def act(self, reaction: Reaction) -> None:
        """React, and ignore failures."""
        self._own_deletions += reaction in (delete, create_anew, create_anew_and_write)
        for one in reaction(self._client):
            one.addErrback(ignore)


def ignore(failure: Any) -> None:
    """Ignore a failure of ZooKeeper."""
    failure.trap(ZooKeeperError)


class RivalTests(SynchronousTestCase):
    """One operation, one rival, and a connection that breaks once at each step."""

    def check(
        self,
        ask: Callable[[Retrying], Deferred[Any]],
        reaction: Reaction,
        refused: type[Exception],
        early: Reaction = do_nothing,
    ) -> None:
        """Check that the result of an operation agrees with its effects.

        Args:
            ask: begins the operation.
            reaction: of the rival, to each effect.
            refused: the error of an operation without an effect.
            early: what the rival does just before the operation.
        """
        errors: set[str] = set()

        def scenario(world: World) -> None:
            rival = Rival(world, reaction)
            client = world.clients[1]
            safely = Retrying(client, reactor=world.network)
            world.result(safely.read(lambda: client.get(PATH)))
            rival.act(early)
            results = outcome(ask(safely))
            world.wait()
            world.result(rival.watch.cancel())
            (result,) = results
            error = getattr(result, "value", None)
            errors.add(type(error).__name__)
            self.assertLessEqual(rival.effects, 1)
            if isinstance(error, ConnectionLossError):
                self.assertTrue(error.maybe_applied)
            elif error is None:
                self.assertEqual(rival.effects, 1)
            else:
                self.assertIsInstance(error, refused)
                self.assertEqual(rival.effects, 0, repr(error))

        at_every_step(self, 2, scenario)
        if reaction is do_nothing and early is do_nothing:
            self.assertEqual(errors, {"NoneType"})

    def test_set_reports_what_happened(self) -> None:
        """A write that was carried out never fails as refused, and the other way round."""
        for reaction in (do_nothing, write_on, delete, create_anew, create_anew_and_write):
            self.check(lambda safely: safely.set(PATH, b"mine", 0), reaction, BadVersionError)

    def test_set_too_late(self) -> None:
        """The write of a faster rival is not overwritten."""
        for early in (write_on, create_anew_and_write):
            self.check(
                lambda safely: safely.set(PATH, b"mine", 0), do_nothing, BadVersionError, early
            )

    def test_delete_spares_another_clients_node(self) -> None:
        """Another client's new node is never deleted."""
        for version in (-1, 0):

            def ask(safely: Retrying, version: int = version) -> Deferred[None]:
                return safely.delete(PATH, version)

            for reaction in (do_nothing, create):
                self.check(ask, reaction, NoNodeError)

    def test_an_uncertain_write_is_never_repeated(self) -> None:
        """A write without a version is never repeated after a lost reply."""
        self.check(
            lambda safely: safely.write(lambda: safely._client.set(PATH, b"mine")),
            write_on,
            ConnectionLossError,
        )
