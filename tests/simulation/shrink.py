"""Find the few decisions that a failure needs.

First each kind of noise is taken out as a whole, then what is left is halved, quartered and so
on (Zeller's ddmin).  A smaller run counts if it violates the same invariant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

#: Whether a run with only these decisions still fails.
Fails = Callable[[Sequence[str]], bool]


def shrink(decisions: Sequence[str], fails: Fails, seconds: float) -> list[str]:
    """The decisions that are still needed.

    Args:
        decisions: of a run that fails.
        fails: tries a run.
        seconds: how long it may take; what is found by then is returned.
    """
    ends = monotonic() + seconds
    kept = list(decisions)
    for kind in dict.fromkeys(_kind(one) for one in decisions):
        fewer = [one for one in kept if _kind(one) != kind]
        if len(fewer) < len(kept) and fails(fewer):
            kept = fewer
    parts = 2
    while len(kept) > 1 and monotonic() < ends:
        size = -(-len(kept) // parts)
        for start in range(0, len(kept), size):
            fewer = kept[:start] + kept[start + size :]
            if monotonic() < ends and fails(fewer):
                kept, parts = fewer, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(kept), parts * 2)
    return kept


def _kind(decision: str) -> str:
    """``order@12`` is one of the kind ``order@``, ``lock.0#3`` one of ``lock.0#``."""
    for mark in "@#":
        kind, found, _ = decision.partition(mark)
        if found:
            return kind + mark
    return decision
