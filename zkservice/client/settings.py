"""The checked arguments of a client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zkservice.client.handshake import TLSCreator
from zkservice.client.sasl import DigestMD5
from zkservice.wire.hosts import Ensemble


@dataclass(frozen=True)
class ClientSettings:
    """The constructor's arguments, checked; times in seconds, sizes in bytes."""

    ensemble: Ensemble
    session_timeout: float
    connect_timeout: float | None
    tls: TLSCreator | None
    sasl: DigestMD5 | None
    read_only: bool
    new_session: bool
    local_expiry: bool
    max_request: int
    max_reply: int
    shuffle: bool
    clock: Callable[[], float]  # also counts while the process is suspended

    @property
    def attempt_timeout(self) -> float:
        """How long one server may take to accept the session.

        So long that all servers can be tried within one session (ClientCnxn.java).
        """
        if self.connect_timeout is not None:
            return self.connect_timeout
        return max(0.1, self.session_timeout / len(self.ensemble.addresses))
