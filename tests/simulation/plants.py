"""Bugs to plant: a simulation that does not find them finds no others either.

Each one patches zkservice while a run lasts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any
from unittest.mock import patch

from zkservice.client import session_setup
from zkservice.client.session_setup import AuthCredential, AuthCredentials
from zkservice.embedded.server import OpenConnections
from zkservice.embedded.watches import ExclusiveWatches, ServerWatches
from zkservice.recipes import Barrier, DoubleBarrier, Queue, ReadWriteLock, reliable
from zkservice.recipes.lock_queue import LockQueue
from zkservice.recipes.queue_order import LockKind
from zkservice.recipes.read_write import READ
from zkservice.registry.registration import Registration
from zkservice.registry.registration_state import RegistrationState
from zkservice.web.connections import Connections
from zkservice.wire.session import State

Plant = Callable[[], AbstractContextManager[object]]


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """A contender does not look whether others come before it."""

    async def wait_for_turn(self: Any, *args: Any, **named: Any) -> bool:
        return True

    with patch.object(LockQueue, "wait_for_turn", wait_for_turn):
        yield


@contextlib.contextmanager
def queue() -> Iterator[None]:
    """An item is deleted by itself, after its reservation, not in one transaction."""

    async def delete_once(self: Any, doubt: Any) -> None:
        client = self._retrying.client
        await client.delete(self._lease.path)
        await client.delete(self.path)

    with patch.object(reliable.QueueItem, "_delete_once", delete_once):
        yield


@contextlib.contextmanager
def registration() -> Iterator[None]:
    """What is registered is not looked at again in a new session."""
    original = Registration._session_changed

    def session_changed(self: Any, state: State) -> None:
        if state is State.CONNECTED and self.state is RegistrationState.WAITING and self._held:
            return
        original(self, state)

    with patch.object(Registration, "_session_changed", session_changed):
        yield


@contextlib.contextmanager
def drain() -> Iterator[None]:
    """The requests that run are cut off when the process is asked to end."""
    original = Connections.drain

    def at_once(self: Any, linger: float, timeout: float) -> Any:
        return original(self, 0, 0)

    with patch.object(Connections, "drain", at_once):
        yield


@contextlib.contextmanager
def watches() -> Iterator[None]:
    """Watches are not set again on a new connection."""
    with patch.object(session_setup, "set_watches", lambda *args: None):
        yield


@contextlib.contextmanager
def agent() -> Iterator[None]:
    """A POST is sent again when its response did not come."""
    # The package exports a function of the module's name.
    module: Any = import_module("zkservice.discovery.agent")
    with patch.object(module, "IDEMPOTENT", module.IDEMPOTENT | {b"POST"}):
        yield


@contextlib.contextmanager
def sharer() -> Iterator[None]:
    """A reader does not wait for writers."""
    original = ReadWriteLock._lock

    def lock_of(self: Any, kind: LockKind) -> Any:
        return original(self, LockKind(READ, ()) if kind.name == READ else kind)

    with patch.object(ReadWriteLock, "_lock", lock_of):
        yield


@contextlib.contextmanager
def taker() -> Iterator[None]:
    """An item that another consumer has deleted counts as taken."""

    async def take(self: Any, path: str, data: bytes, czxid: int, outcome: Any) -> None:
        await self._retrying.delete_node(path, czxid, across_sessions=True)
        if not outcome.called:
            outcome.callback(True)

    with patch.object(Queue, "_take", take):
        yield


@contextlib.contextmanager
def barrier() -> Iterator[None]:
    """Whatever happens to a barrier lets its clients pass."""

    async def wait(self: Any) -> None:
        client = self._retrying.client

        async def once() -> None:
            stat, watch = await self._retrying.read_and_watch(
                lambda: client.exists_and_watch(self.path)
            )
            if stat is not None:
                await watch

        await self._retrying.retry_across_sessions(once)

    with patch.object(Barrier, "_wait", wait):
        yield


@contextlib.contextmanager
def meeting() -> Iterator[None]:
    """The last member but one lets all in."""
    original = DoubleBarrier._complete_entry

    async def complete_entry(self: Any) -> bool:
        self.members -= 1
        try:
            return await original(self)
        finally:
            self.members += 1

    with patch.object(DoubleBarrier, "_complete_entry", complete_entry):
        yield


@contextlib.contextmanager
def owner() -> Iterator[None]:
    """Credentials are presented once, and not on each connection."""
    presented: set[AuthCredential] = set()
    original = AuthCredentials.__iter__

    def remaining(self: Any) -> Iterator[AuthCredential]:
        for one in original(self):
            if one not in presented:
                presented.add(one)
                yield one

    with patch.object(AuthCredentials, "__iter__", remaining):
        yield


@contextlib.contextmanager
def leak() -> Iterator[None]:
    """A server does not forget the connections that it has refused."""
    original = OpenConnections.discard

    def discard(self: Any, protocol: Any) -> None:
        kept = protocol in self.refused
        original(self, protocol)
        if kept:
            self.refused[protocol] = None

    with patch.object(OpenConnections, "discard", discard):
        yield


@contextlib.contextmanager
def forget() -> Iterator[None]:
    """A server does not forget the watches of a connection that is closed."""

    def nothing(self: Any, connection: Any) -> None:
        connection.watched.clear()

    with (
        patch.object(ServerWatches, "forget", nothing),
        patch.object(ExclusiveWatches, "forget", nothing),
    ):
        yield


#: In which workload the effect of each shows.
WHERE = {
    "sharer": "sharer",
    "taker": "taker",
    "barrier": "barrier",
    "meeting": "meeting",
    "owner": "owner",
    "leak": "visitor",
    "forget": "register",
    "registration": "service",
    "lock": "lock",
    "queue": "queue",
    "drain": "service",
    "watches": "register",
    "agent": "service",
}
PLANTS: dict[str, Plant] = {
    "sharer": sharer,
    "taker": taker,
    "barrier": barrier,
    "meeting": meeting,
    "owner": owner,
    "leak": leak,
    "forget": forget,
    "registration": registration,
    "lock": lock,
    "queue": queue,
    "drain": drain,
    "watches": watches,
    "agent": agent,
}


def planted(name: str | None) -> Plant:
    """The bug of a name; no bug for None."""
    return contextlib.nullcontext if name is None else PLANTS[name]
