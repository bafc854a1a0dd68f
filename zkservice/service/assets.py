"""What a program hands to the one that replaces it: sockets, address, files."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.internet.defer import Deferred

from zkservice.registry import Registration, RegistrationState
from zkservice.service.announcement import Announcer
from zkservice.service.availability import OPERATOR
from zkservice.service.front import Front
from zkservice.service.ports import Ports
from zkservice.service.program import Program
from zkservice.service.systemd import Notifier

__all__ = ["Assets"]


class Assets:
    """The parts of a service that one process at a time has.

    Args:
        front: accepts connections.
        announcement: has the address.
        notifier: of the process that systemd takes for the main one.
        program: has the pid file.
    """

    def __init__(
        self, front: Front, announcement: Announcer, notifier: Notifier, program: Program
    ) -> None:
        self._front = front
        self._announcement = announcement
        self.notifier = notifier
        self.program = program

    # -- sockets --

    @property
    def sockets(self) -> list[tuple[str, int]]:
        """Endpoint strings, and the descriptors of the sockets that listen there."""
        return [each for ports in self._ports() for each in ports.sockets()]

    def share_sockets(self) -> None:
        """Let another program have the sockets, too."""
        for ports in self._ports():
            ports.share()

    def pause(self) -> None:
        """Accept no connections."""
        self._front.pause()
        self._announcement.admin_ports.opener.pause()

    def resume(self) -> None:
        """Accept connections."""
        self._front.resume()
        self._announcement.admin_ports.opener.resume()

    def _ports(self) -> Iterator[Ports]:
        yield self._front.listeners.opener
        yield self._announcement.admin_ports.opener

    # -- the address --

    @property
    def session(self) -> int:
        """The id of the ZooKeeper session; 0 while there is none."""
        identity = self._announcement.registrar.client.client_id
        return 0 if identity is None else identity[0]

    @property
    def taken_out(self) -> str:
        """Why the operator has taken the address out; blank if it is not."""
        return self._announcement.availability.reasons.get(OPERATOR, "")

    @property
    def prepared(self) -> bool:
        """Whether nothing but the other program is in the way of the registration."""
        announcement = self._announcement
        hindered = announcement.availability.reasons or not self._front.complete
        return announcement.registrar.connected and not hindered

    @property
    def settled(self) -> bool:
        """Whether the address is registered, or the operator wants it out."""
        if self.registration.state is RegistrationState.OUT:
            return set(self._announcement.availability.reasons) == {OPERATOR}
        return self.registration.state is RegistrationState.REGISTERED

    def subscribe(self, changed: Callable[[], object]) -> None:
        """Call back when `prepared` or `settled` may have changed."""
        self._announcement.availability.changed = changed
        self._announcement.registrar.client.subscribe(lambda state: changed())
        self.registration.subscribe(lambda change: changed())

    @property
    def registration(self) -> Registration:
        """The address in ZooKeeper."""
        return self._announcement.registrar.registration

    def freeze_address(self) -> Deferred[None]:
        """Leave the znodes to the other program; fires when nothing is on its way any more."""
        return self.registration.freeze()

    def take_address(self, session: int, taken_out: str = "") -> None:
        """Have the znodes of the other program's session.

        Args:
            session: 0 if it has none.
            taken_out: why the operator has taken the address out; blank if it is not.
        """
        availability = self._announcement.availability
        if taken_out:
            availability.reasons[OPERATOR] = taken_out
        self._announcement.ask_at_the_port()
        self.registration.take_over(session)
        availability.apply()

    def report_status(self) -> None:
        """Tell systemd how the service is."""
        self._announcement.registrar.report_status()

    # -- all of it --

    def hand_over(self) -> None:
        """It is another program's for good."""
        for ports in self._ports():
            ports.hand_over()
        self._announcement.handed_over = True
        self.program.pidfile.leave()
        self.notifier.enabled = False

    def take_over(self, pidfile: str) -> None:
        """It is this program's for good."""
        for ports in self._ports():
            ports.take_over()
        self.program.pidfile.take(pidfile)
        self.notifier.enabled = True
        self.report_status()

    def leave(self) -> None:
        """The other program goes on: touch nothing of it."""
        for ports in self._ports():
            ports.hand_over()
        self._announcement.handed_over = True
        self.freeze_address()
