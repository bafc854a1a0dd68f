"""Bugs to plant: a simulation that does not find them finds no others either.

Each one patches zkservice while a run lasts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from zkservice.recipes import reliable
from zkservice.recipes.lock_queue import LockQueue

Plant = Callable[[], AbstractContextManager[object]]


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """A contender whose predecessor changes believes that it is its turn."""

    async def wait_for_turn(self: Any, *args: Any, **named: Any) -> bool:
        return True

    with patch.object(LockQueue, "wait_for_turn", wait_for_turn):
        yield


@contextlib.contextmanager
def queue() -> Iterator[None]:
    """An item is done although its reservation was lost meanwhile."""

    async def delete_once(self: Any, doubt: Any) -> None:
        client = self._retrying.client
        await client.delete(self._lease.path)
        await client.delete(self.path)

    with patch.object(reliable.QueueItem, "_delete_once", delete_once):
        yield


PLANTS: dict[str, Plant] = {"lock": lock, "queue": queue}


def planted(name: str | None) -> Plant:
    """The bug of a name; no bug for None."""
    return contextlib.nullcontext if name is None else PLANTS[name]
