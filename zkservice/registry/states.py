"""What a registration can be, and how patient it is."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

#: Seconds: after an expiry, that many processes do not register in the same moment.
JITTER: Final = 0.05
#: Seconds between two creations of the same znode: from the first, doubled each time
#: it is deleted under us, up to the second; held for that long, it begins anew.
CREATE_GAP: Final = 0.05
CREATE_GAP_MAX: Final = 10.0
#: Seconds between two attempts when ZooKeeper refuses, from and to.
RETRY: Final = 0.1
RETRY_MAX: Final = 30.0


class RegistrationState(Enum):
    """What a registration is at the moment."""

    WAITING = "waiting for a ZooKeeper session"
    WORKING = "being registered"
    REGISTERED = "registered"
    CONTESTED = "held by another process"
    FAILING = "refused by ZooKeeper"
    OUT = "taken out"
    WITHDRAWN = "withdrawn"


class Change(NamedTuple):
    """A new state of a registration and, where there is one, its reason."""

    state: RegistrationState
    reason: str
