"""Those who wait for a lock on one client: they ask together, and tell each other."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred

from zkservice.deferreds import Waiters
from zkservice.recipes.queue_order import LockKind, predecessors
from zkservice.recipes.retrying import RetryingClient
from zkservice.znodes import join

#: Of each contender the one before him that he has to wait for, if there is one.
Predecessors = Mapping[str, "str | None"]


class LockQueue:
    """The line at a path, as all contenders of one lock object see it.

    A thousand of them get in line with a few requests for the whole of it, and move up without
    any, so what one of them costs does not depend on how many there are.
    """

    def __init__(self, retrying: RetryingClient, path: str, turn: LockKind) -> None:
        """Make it; nothing is asked yet.

        Args:
            retrying: asks.
            path: the parent of the contenders' nodes.
            turn: what they are called, and whom they wait for.
        """
        self._retrying = retrying
        self._path = path
        self._turn = turn
        self._asking: Waiters[Predecessors] = Waiters()
        # The one of ours who was the first of all when we last knew.  As numbers only rise,
        # nobody can come before him, nor before the next one once he is gone.
        self._first: str | None = None

    async def wait_for_turn(self, mine: str, *, wait: bool) -> bool:
        """Wait until it is a contender's turn.

        Args:
            mine: the name of his node, whose creation has been answered.
            wait: False to look only.

        Returns:
            True if it is his turn, or his node is gone; False if it is not and he does not wait.
        """
        while True:
            line = await self._ask()
            if mine not in line:
                return True
            before = line[mine]
            if before is not None:
                if not wait:
                    return False
                gone = await self._retrying.wait_for_change(join(self._path, before))
                if not (gone and before == self._first and self._turn.exclusive):
                    continue
            self._first = mine
            return True

    def _ask(self) -> Deferred[Predecessors]:
        """The line, as it is after all that has been answered until now.

        Replies come in the order of the requests.  So a request that has not been answered
        yet was carried out after all those that have been: its answer is for us, too.
        """
        idle = not self._asking
        answer = self._asking.add()
        if idle:
            Deferred.fromCoroutine(self._retrying.children(self._path)).addCallback(
                predecessors, self._turn
            ).addCallbacks(self._asking.fire, lambda failure: self._asking.fail(failure.value))
        return answer
