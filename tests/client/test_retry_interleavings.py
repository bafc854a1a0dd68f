"""`zkservice.client.Retrying` with connections that break at every step, and a busy rival.

What became of an operation is known here, because a rival sees each of its effects, and
answers it before the client has reconnected.  What the operation says must agree with that.
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

#: What a rival does about an effect of the operation.
Answer = Callable[[ZooKeeperClient], list[Deferred[Any]]]


def do_nothing(_: ZooKeeperClient) -> list[Deferred[Any]]:
    """Leave it as it is."""
    return []


def write_on(rival: ZooKeeperClient) -> list[Deferred[Any]]:
    """Write over what was written."""
    return [rival.set(PATH, b"theirs")]


def delete(rival: ZooKeeperClient) -> list[Deferred[Any]]:
    """Delete the node."""
    return [rival.delete(PATH)]


def create(rival: ZooKeeperClient) -> list[Deferred[Any]]:
    """Create a node in the place of the one that was deleted."""
    return [rival.create(PATH, b"theirs")]


def create_anew(rival: ZooKeeperClient) -> list[Deferred[Any]]:
    """Put a new node in the place of the old one."""
    return [*delete(rival), *create(rival)]


def create_anew_and_write(rival: ZooKeeperClient) -> list[Deferred[Any]]:
    """The same, with the version that the operation's effect has."""
    return [*create_anew(rival), *write_on(rival)]


class Rival:
    """Sees what the other client does to the node, and answers it."""

    def __init__(self, world: World, answer: Answer) -> None:
        self._client = world.clients[0]
        self._answer = answer
        self._own = 0  # deletions of its own that it has not seen yet
        self.effects = 0
        world.result(self._client.create(PATH))
        self.watch: PersistentWatch = world.result(self._client.add_watch(PATH, self._saw))

    def _saw(self, event: WatchEvent) -> None:
        if event.type is EventType.DATA_CHANGED:
            self._client.get(PATH).addCallbacks(self._read, ignore)
        elif event.type is EventType.DELETED:
            self._own -= 1
            if self._own < 0:
                self._own = 0
                self._saw_effect()

    def _read(self, found: tuple[bytes, object]) -> None:
        if found[0] == b"mine":
            self._saw_effect()

    def _saw_effect(self) -> None:
        self.effects += 1
        self.act(self._answer)

    def act(self, answer: Answer) -> None:
        """Do something, whether it succeeds or not."""
        self._own += answer in (delete, create_anew, create_anew_and_write)
        for one in answer(self._client):
            one.addErrback(ignore)


def ignore(failure: Any) -> None:
    """It does not matter that this failed."""
    failure.trap(ZooKeeperError)


class RivalTests(SynchronousTestCase):
    """One operation, one rival, and a connection that breaks once at each step."""

    def check(
        self,
        ask: Callable[[Retrying], Deferred[Any]],
        answer: Answer,
        refused: type[Exception],
        early: Answer = do_nothing,
    ) -> None:
        """What the operation says agrees with what it did.

        Args:
            ask: the operation.
            answer: what the rival does about its effect.
            refused: what it may fail with if it has no effect.
            early: what the rival does at the same time, a little before.
        """
        said: set[str] = set()

        def story(world: World) -> None:
            rival = Rival(world, answer)
            client = world.clients[1]
            safely = Retrying(client, reactor=world.network)
            world.result(safely.read(lambda: client.get(PATH)))
            rival.act(early)
            results = outcome(ask(safely))
            world.wait()
            world.result(rival.watch.cancel())
            (result,) = results
            error = getattr(result, "value", None)
            said.add(type(error).__name__)
            self.assertLessEqual(rival.effects, 1)
            if isinstance(error, ConnectionLossError):
                self.assertTrue(error.maybe_applied)
            elif error is None:
                self.assertEqual(rival.effects, 1)
            else:
                self.assertIsInstance(error, refused)
                self.assertEqual(rival.effects, 0, repr(error))

        at_every_step(self, 2, story)
        if answer is do_nothing and early is do_nothing:
            self.assertEqual(said, {"NoneType"})

    def test_set_reports_what_happened(self) -> None:
        """A write never says that it was refused if it was carried out, nor the reverse."""
        for answer in (do_nothing, write_on, delete, create_anew, create_anew_and_write):
            self.check(lambda safely: safely.set(PATH, b"mine", 0), answer, BadVersionError)

    def test_set_too_late(self) -> None:
        """A rival that was faster is not overwritten."""
        for early in (write_on, create_anew_and_write):
            self.check(
                lambda safely: safely.set(PATH, b"mine", 0), do_nothing, BadVersionError, early
            )

    def test_delete_spares_another_clients_node(self) -> None:
        """Another client's new node is never deleted."""
        for version in (-1, 0):

            def ask(safely: Retrying, version: int = version) -> Deferred[None]:
                return safely.delete(PATH, version)

            for answer in (do_nothing, create):
                self.check(ask, answer, NoNodeError)

    def test_an_uncertain_write_is_never_repeated(self) -> None:
        """Anything else is never done twice."""
        self.check(
            lambda safely: safely.write(lambda: safely._client.set(PATH, b"mine")),
            write_on,
            ConnectionLossError,
        )
