"""What a program hands over in an upgrade: sockets, registration, files."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.internet.defer import Deferred

from zkservice.registry import Registration, RegistrationState
from zkservice.service.front.interface import Front
from zkservice.service.ports.endpoint_strings import Ports
from zkservice.service.process.program import Program
from zkservice.service.process.systemd import Notifier
from zkservice.service.registration.announcement import Announcer
from zkservice.service.state.availability import OPERATOR

__all__ = ["Assets"]


class Assets:
    """The parts of a service that exactly one of two programs has during an upgrade.

    Args:
        front: accepts connections.
        announcement: has the registration, and the ports for operators.
        notifier: reports to systemd, if this is the main process.
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
        """Allow another program to listen on the same sockets."""
        for ports in self._ports():
            ports.share()

    def pause(self) -> None:
        """Stop accepting connections."""
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
        """The operator's reason for deregistering the address; "" if there is none."""
        return self._announcement.availability.reasons.get(OPERATOR, "")

    @property
    def prepared(self) -> bool:
        """Whether the registration waits only for the other program."""
        announcement = self._announcement
        blocked = bool(announcement.availability.reasons) or not self._front.complete
        return announcement.registrar.connected and not blocked

    @property
    def settled(self) -> bool:
        """Whether the address is registered, or deregistered by the operator."""
        if self.registration.state is RegistrationState.OUT:
            return set(self._announcement.availability.reasons) == {OPERATOR}
        return self.registration.state is RegistrationState.REGISTERED

    def subscribe(self, changed: Callable[[], object]) -> None:
        """Call a function when `prepared` or `settled` may have changed."""
        self._announcement.availability.changed = changed
        self._announcement.registrar.client.subscribe(lambda state: changed())
        self.registration.subscribe(lambda change: changed())

    @property
    def registration(self) -> Registration:
        """The address in ZooKeeper."""
        return self._announcement.registrar.registration

    def freeze_address(self) -> Deferred[None]:
        """Stop changing the znodes; fires when no request is pending any more."""
        return self.registration.freeze()

    def take_address(self, session: int, taken_out: str = "") -> None:
        """Take over the znodes of the other program's session.

        Args:
            session: the session's id; 0 if there is none.
            taken_out: the operator's reason for deregistering the address; "" if there is none.
        """
        availability = self._announcement.availability
        if taken_out:
            availability.reasons[OPERATOR] = taken_out
        self._announcement.check_health_at_the_port()
        self.registration.take_over(session)
        availability.apply()

    def report_status(self) -> None:
        """Report the status to systemd."""
        self._announcement.registrar.report_status()

    # -- all of it --

    def hand_over(self) -> None:
        """Give everything up for good: another program has it."""
        for ports in self._ports():
            ports.hand_over()
        self._announcement.handed_over = True
        self.program.pidfile.leave()
        self.notifier.enabled = False

    def take_over(self, pidfile: str) -> None:
        """Keep everything for good: the other program has handed it over."""
        for ports in self._ports():
            ports.take_over()
        self.program.pidfile.take(pidfile)
        self.notifier.enabled = True
        self.report_status()

    def release(self) -> None:
        """Leave everything to the other program, which goes on; nothing was taken over."""
        for ports in self._ports():
            ports.hand_over()
        self._announcement.handed_over = True
        self.freeze_address()
