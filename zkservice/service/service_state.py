"""The state of a whole service at one moment, for metrics."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from twisted.internet.interfaces import IListeningPort, IReactorTime

from zkservice.registry import Change, RegistrationState
from zkservice.service.front.interface import Front
from zkservice.service.registration.announcement import Announcer
from zkservice.service.state.figures import (
    Figures,
    ListenQueue,
    ProcessSums,
    ServiceState,
)
from zkservice.wire.session import State

__all__ = ["StateTimes", "figures_of", "listen_queues"]

#: Linux's ``struct tcp_info``: eight bytes, then words of 32 bits.  For a listening socket, the
#: fifth word is the number of connections that wait to be accepted, and the sixth is its limit
#: (net/ipv4/tcp.c, ``tcp_get_info``).
_TCP_INFO: Final = struct.Struct("=8x16xII")


class StateTimes:
    """Remembers when the registration and the session entered their states.

    Args:
        clock: tells the time since the epoch.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.registration = self.session = clock.seconds()

    def follow(self, announcement: Announcer) -> None:
        """Record changes from now on."""
        announcement.registrar.registration.subscribe(self._registration_changed)
        announcement.registrar.client.subscribe(self._session_changed)

    def _registration_changed(self, change: Change) -> None:
        self.registration = self._clock.seconds()

    def _session_changed(self, state: State) -> None:
        self.session = self._clock.seconds()


def figures_of(front: Front, announcement: Announcer | None, times: StateTimes) -> Figures:
    """Collect the figures of the whole service.

    Args:
        front: the front end.
        announcement: the registration; None before there is one.
        times: when the states were entered.
    """
    workers, http = front.statistics()
    parts: dict[str, Any] = {}
    registration, session, healthy = RegistrationState.WAITING, State.CONNECTING, None
    if announcement is not None:
        registrar = announcement.registrar
        registration, session = registrar.registration.state, registrar.client.state
        healthy = announcement.healthy
        parts["client"] = registrar.client.statistics()
    return Figures(
        workers=workers,
        registered=registration is RegistrationState.REGISTERED,
        connected=session is State.CONNECTED,
        http=http,
        state=ServiceState(
            registration=registration.name.lower(),
            registration_since=times.registration,
            session=session.name.lower(),
            session_since=times.session,
            healthy=healthy,
            processes=_processes(front),
            listening=tuple(listen_queues(front.listeners.ports)),
        ),
        **parts,
    )


def _processes(front: Front) -> ProcessSums | None:
    described: Iterable[Mapping[str, Any]] = front.status().get("processes", ())
    if not front.size:
        return None
    return ProcessSums(
        wanted=front.size,
        states=Counter(each["state"] for each in described),
        rss=sum(each["rss"] for each in described),
        cpu=front.cpu_seconds(),
    )


def listen_queues(ports: Iterable[IListeningPort]) -> Iterable[ListenQueue]:
    """The accept queues of TCP ports; only Linux reports them."""
    for port in ports:
        opened: Any = port
        try:
            info = opened.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
            waiting, limit = _TCP_INFO.unpack(info)
        except (AttributeError, OSError, struct.error):
            continue  # a Unix socket, a closed port, or another system
        where: Any = port.getHost()
        yield ListenQueue(f"{where.host}:{where.port}", waiting, limit)
