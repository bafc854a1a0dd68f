"""SIGUSR2: start a new program on the same sockets, hand over to it, and end.

The new program has the same command line, and uses what is installed now.  It loads the application
and opens its session while this one serves on.  When it reports that it is prepared, this program
stops accepting (connections wait in the kernel) and changes its znodes no more.  The new one
accepts, and replaces the znodes in one transaction.  When it reports that it is ready, this program
drains and ends.  If anything fails before that, this program takes everything back.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.deferreds import Alarm, Waiters
from zkservice.privates import systemd_socket_names
from zkservice.service.config import Config
from zkservice.service.ports.inheritance import VARIABLE, Handover, Inheritance
from zkservice.service.upgrading.assets import Assets

__all__ = ["Upgrade"]

#: Seconds to register the address again before the new program, which failed, is released.
_REGISTER_AGAIN: Final = 5.0
#: Seconds for the new program to end, in addition to its own time-outs.
_GRACE: Final = 5.0


class _Phase(Enum):
    """The phases of an upgrade, with their descriptions for the log."""

    IDLE = "no upgrade"
    STARTING = "the new program starts"
    SWITCHING = "the new program takes over"
    TAKING_BACK = "the new program ends"
    DONE = "the new program serves"


class Upgrade:
    """Starts new programs, until one of them takes over.

    Args:
        config: has the time-outs.
        reactor: spawns the program.
        assets: the parts to hand over.
        done: called with a reason when this program should end.
    """

    _log = Logger()

    def __init__(
        self, config: Config, reactor: Any, assets: Assets, done: Callable[[str], object]
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._assets = assets
        self._done = done
        self._phase = _Phase.IDLE
        self._deadline = Alarm(reactor, self._deadline_passed)
        self._channel: Handover | None = None
        self._process: IProcessTransport | None = None
        self._session = 0  # the id of the new program's session
        self._ended: Waiters[None] = Waiters()

    @property
    def handed_over(self) -> bool:
        """Whether another program has taken over."""
        return self._phase is _Phase.DONE

    def start(self) -> None:
        """Start a new program, or log the reason why that is impossible."""
        reason = self._reason_to_refuse()
        if reason:
            self._log.warn("SIGUSR2 is ignored: {reason}", reason=reason)
            return
        self._phase, self._session = _Phase.STARTING, 0
        self._deadline.set(self._config.upgrade_timeout)
        self._assets.share_sockets()
        self._assets.notifier.reloading(time.monotonic_ns() // 1000)
        try:
            self._spawn()
        except OSError as error:
            self._phase = _Phase.TAKING_BACK
            self._failed(f"it cannot be started: {error}")
            self._reset()
            return
        assert self._process is not None
        self._log.info("upgrade: process {pid} starts", pid=self._process.pid)

    def stop(self) -> Deferred[None]:
        """Stop the new program with this one, unless it has taken over.

        Fires when the new program has ended.
        """
        if self._phase is _Phase.SWITCHING:
            self._assets.resume()
        if self._phase in (_Phase.IDLE, _Phase.DONE):
            return succeed(None)
        self._deadline.cancel()
        if self._phase is _Phase.STARTING:
            self._signal(signal.SIGKILL)  # it has not taken anything over yet
        elif self._channel is not None:
            self._channel.send("stop")
        self._phase = _Phase.TAKING_BACK
        return self._ended.add()

    def kill(self) -> None:
        """Kill the new program, unless it has taken over."""
        if self._phase is not _Phase.DONE:
            self._signal(signal.SIGKILL)

    # -- the start --

    def _reason_to_refuse(self) -> str:
        if self._phase is _Phase.DONE:
            return "another program has taken over already"
        if self._phase is not _Phase.IDLE:
            return f"an upgrade is under way ({self._phase.value})"
        if self._config.zookeeper.hosts is None:
            return "the embedded ZooKeeper and its data are in this process; restart it instead"
        if not self._assets.program.arguments:
            return "it is not known how this program was started"
        return ""

    def _spawn(self) -> None:
        program, sockets = self._assets.program, self._assets.sockets
        inheritance = Inheritance.of(
            [endpoint for endpoint, _ in sockets], systemd_socket_names(), program.pidfile.path
        )
        ours, theirs = socket.socketpair()
        with contextlib.closing(theirs):
            self._channel = Handover(self._on_message, self._on_close)
            self._channel.adopt(self._reactor, ours)
            self._process = self._reactor.spawnProcess(
                _NewProcess(self._process_ended),
                program.arguments[0],
                list(program.arguments),
                env={**os.environ, "PWD": program.directory, VARIABLE: inheritance.to_text()},
                path=program.directory,
                childFDs={
                    **{0: 0, 1: 1, 2: 2},
                    **inheritance.descriptors(theirs.fileno(), [number for _, number in sockets]),
                },
            )

    # -- messages of the new program --

    def _on_message(self, message: Mapping[str, Any]) -> None:
        kind = message.get("say")
        if kind == "failed":
            self._failed(str(message.get("reason")))
        elif kind == "prepared" and self._phase is _Phase.STARTING:
            self._switch(message)
        elif kind == "ready" and self._phase is _Phase.SWITCHING:
            self._finish()

    def _switch(self, message: Mapping[str, Any]) -> None:
        """Stop accepting and changing the znodes, then let the new program do both."""
        self._phase = _Phase.SWITCHING
        session = message.get("session")
        self._session = session if isinstance(session, int) else 0
        self._assets.pause()
        self._assets.freeze_address().addCallback(self._let_it_take_over)

    def _let_it_take_over(self, _: None) -> None:
        if self._phase is _Phase.SWITCHING and self._channel is not None:
            self._channel.send("go", session=self._assets.session, out=self._assets.taken_out)

    def _finish(self) -> None:
        """End: the new program accepts, and its znodes have replaced those of this one."""
        assert self._channel is not None
        assert self._process is not None
        self._phase = _Phase.DONE
        self._deadline.cancel()
        pidfile, pid = self._assets.program.pidfile.path, self._process.pid
        # Only the old main process may tell systemd which process is the main one.
        self._assets.notifier.send(f"MAINPID={pid}")
        self._assets.hand_over()
        self._channel.send("yours", pidfile=pidfile)
        self._done(f"process {pid} has taken over")

    # -- when it fails --

    def _failed(self, reason: str) -> None:
        """Take everything back, and have the new program end.

        If it was taking over, it keeps its session, which may have the address, until the address
        is registered here again: then there is no moment without one.
        """
        if self._phase is _Phase.DONE:
            return
        self._log.error("upgrade: {reason}; this program goes on", reason=reason)
        switching, self._phase = self._phase is _Phase.SWITCHING, _Phase.TAKING_BACK
        if switching:
            self._assets.resume()
            self._assets.take_address(self._session)
            registered: Deferred[Any] = self._assets.registration.when_registered()
            registered.addTimeout(_REGISTER_AGAIN, self._reactor).addBoth(
                lambda _: self._close_channel()
            )
            self._deadline.set(_REGISTER_AGAIN + self._config.drain_timeout + _GRACE)
        else:
            self._close_channel()
            self._deadline.set(_GRACE)
        self._assets.report_status()

    def _close_channel(self) -> None:
        """Close the channel, which ends the new program: the address is registered here again."""
        if self._channel is not None:
            self._channel.close()

    def _deadline_passed(self) -> None:
        """Kill a program that does not end; take back from one that is not ready in time."""
        if self._phase is _Phase.TAKING_BACK:
            self.kill()
            return
        starting = self._phase is _Phase.STARTING
        self._failed(f"it was not ready within {self._config.upgrade_timeout:g} s")
        if starting:
            self.kill()

    def _on_close(self) -> None:
        """Do nothing: the end of the process follows and says more."""

    def _process_ended(self, failure: Failure) -> None:
        if self._phase in (_Phase.STARTING, _Phase.SWITCHING):
            self._failed(f"it has ended: {failure.getErrorMessage()}")
        self._reset()

    def _reset(self) -> None:
        """Be ready for another upgrade, unless the new program has taken over."""
        if self._phase is _Phase.DONE:
            return
        self._deadline.cancel()
        self._close_channel()
        self._process = self._channel = None
        self._phase = _Phase.IDLE
        self._log.info("upgrade: the new program has ended; SIGUSR2 starts another one")
        self._ended.fire(None)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessExitedAlready):
                self._process.signalProcess(number)


class _NewProcess(ProcessProtocol):
    """Reports the end of the new program."""

    def __init__(self, ended: Callable[[Failure], object]) -> None:
        self._ended = ended

    @override
    def processEnded(self, reason: Failure) -> None:
        self._ended(reason)
