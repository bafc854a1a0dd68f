"""The queue of a lock, which the contenders of one client read together."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred

from zkservice.deferreds import Waiters
from zkservice.recipes.queue_order import LockKind, predecessors
from zkservice.recipes.retrying import RetryingClient
from zkservice.znodes import join

#: For each contender the predecessor that it has to wait for, or None.
Predecessors = Mapping[str, "str | None"]


class LockQueue:
    """The queue at a path, as all contenders of one lock object see it.

    A thousand contenders join with a few requests in all, and move up without requests, so
    the cost of one contender does not depend on their number.

    Args:
        retrying: reads the queue.
        path: the parent of the contenders' nodes.
        kind: the name of their nodes, and the names that they wait for.
    """

    def __init__(self, retrying: RetryingClient, path: str, kind: LockKind) -> None:
        self._retrying = retrying
        self._path = path
        self._kind = kind
        self._reading: Waiters[Predecessors] = Waiters()
        # The last contender of this client that was first in the queue.  Numbers only rise, so no
        # new node comes before it.  When its node is deleted, its successor is first, without
        # another read.
        self._last_first: str | None = None

    async def wait_for_turn(self, own_name: str, *, wait: bool) -> bool:
        """Wait until it is a contender's turn.

        Args:
            own_name: the name of the contender's node; the server has confirmed its creation.
            wait: False to return at once.

        Returns:
            True if it is its turn, or its node is gone; False if it is not and ``wait`` is False.
        """
        while True:
            queue = await self._read()
            if own_name not in queue:
                return True
            predecessor = queue[own_name]
            if predecessor is not None:
                if not wait:
                    return False
                gone = await self._retrying.wait_for_change(join(self._path, predecessor))
                was_first = predecessor == self._last_first and self._kind.exclusive
                if not (gone and was_first):
                    continue  # read the queue again
            self._last_first = own_name
            return True

    def _read(self) -> Deferred[Predecessors]:
        """Read the queue, with all nodes whose creation was confirmed before this call.

        The server replies in order, so a request that has no reply yet is carried out after
        every request that has one.  Its reply is recent enough for this caller as well.
        """
        idle = not self._reading
        reply = self._reading.add()
        if idle:
            Deferred.fromCoroutine(self._retrying.children(self._path)).addCallback(
                predecessors, self._kind
            ).addCallbacks(self._reading.fire, lambda failure: self._reading.fail(failure.value))
        return reply
