"""What must hold: one sentence each.  ``docs/reliability.rst`` has the same table."""

from __future__ import annotations

from typing import Final

#: What must hold whatever happens, but for faults that say otherwise (`faults`).
SAFE: Final = {
    "answered": "A request that the application has begun gets its whole response.",
    "not again": "A request that is not idempotent reaches the application once.",
    "right answer": "A response is the one to its request.",
    "accepting": "An address that is registered by a live process accepts connections.",
    "one znode": "There is at most one znode for each address.",
    "own znode": "A process whose registration says registered, and whose session lives, has its "
    "znode.",
    "certain": "A lease is never certain after another contender was granted the same.",
    "shared": "A writer's lease is never certain together with a reader's or another writer's.",
    "tokens": "Each lease that is certain has a higher token than all before it.",
    "once": "An item of a queue is done once, and no item is done that was not put.",
    "taken": "An item of a plain queue is taken once, unless a connection broke meanwhile.",
    "not lost": "An item that was put is done or taken, or is still in the queue.",
    "blocked": "A client passes a barrier only once the barrier is gone, or is another one.",
    "together": "Members enter a double barrier once all are there, and have left once all leave.",
    "own": "An owner has its credentials on each connection: its own znodes never refuse it.",
    "secret": "A znode opens only for the credentials that its ACL names.",
    "counted": "A counter has counted each confirmed addition once, and no addition twice.",
    "order": "The calls of a client end in the order in which they were made.",
    "zxid": "The transactions that a client sees never go back within a session.",
    "event": "A watch fires once what it watches has changed, also while its client was away.",
    "event first": "A watch fires before its client sees the data that the event announces.",
    "linear": "Writes to a znode take effect between their call and their end, each once.",
    "whole": "A transaction is carried out as a whole or not at all.",
    "states": "The states of a session follow each other as its table says.",
    "no error": "No error is logged that nothing handles, and no call raises.",
    "agree": "The server's containers agree about sessions, connections, ephemerals and watches.",
    "bounded": "Connections, timed calls and each container stay below their bounds.",
}

#: What must hold at the end, once everything was asked to end.
ENDED: Final = {
    "fires": "Every Deferred has fired.",
    "nothing left": "Nothing is left in a reactor, a client or a server whose users have ended.",
}

#: What must hold when faults have stopped for so many simulated seconds.
LIVE: Final = {
    "recovers": "Everything goes on within 60 seconds after the last fault.",
    "converges": "A view, and a resolver, are what the server has.",
    "registered": "A healthy process is registered.",
}

INVARIANTS: Final = {**SAFE, **ENDED, **LIVE}
