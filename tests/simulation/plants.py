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
from zkservice.recipes import reliable
from zkservice.recipes.lock_queue import LockQueue
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


#: In which workload the effect of each shows.
WHERE = {
    "registration": "service",
    "lock": "lock",
    "queue": "queue",
    "drain": "service",
    "watches": "register",
    "agent": "service",
}
PLANTS: dict[str, Plant] = {
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
