"""The new program's side of an upgrade; `zkservice.service.upgrading.upgrade` is the old one's."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from zkservice.deferreds import Waiters
from zkservice.service.ports.inheritance import Handover, Inheritance, InheritedSockets
from zkservice.service.upgrading.assets import Assets

__all__ = ["GIVE_BACK", "Successor"]

#: Seconds to wait until the old program has registered the address again.
GIVE_BACK: Final = 6.0


class Successor:
    """Takes over when this program is prepared, and gives back if it cannot go on.

    Args:
        inheritance: what the old program has passed on.
        reactor: runs the channel to the old program.

    Attributes:
        sockets: the inherited sockets.
    """

    _log = Logger()

    def __init__(self, inheritance: Inheritance, reactor: Any) -> None:
        self.sockets = InheritedSockets(inheritance.sockets)
        self._inheritance = inheritance
        self._reactor = reactor
        self._channel = Handover(self._on_message, self._on_close)
        self._assets: Assets | None = None
        self._fail: Callable[[str], object] = lambda reason: None
        self._end: Callable[[str], object] = lambda reason: None
        self._owns = False
        self._sent: set[str] = set()  # the types of the messages that were sent
        self._taking_over = False  # whether the old program has sent "go"
        self._given_back: Waiters[None] = Waiters()

    @property
    def owns(self) -> bool:
        """Whether this program has taken over."""
        return self._owns

    def begin(
        self, assets: Assets, fail: Callable[[str], object], end: Callable[[str], object]
    ) -> None:
        """Wait until this program is prepared.

        Args:
            assets: the parts to take over.  The reactor does not run yet, so nothing uses them.
            fail: called with a reason when this program must give up.
            end: called with a reason when both programs must end.
        """
        self._assets, self._fail, self._end = assets, fail, end
        assets.freeze_address()
        assets.pause()
        self.sockets.close()  # those that the configuration no longer has
        end_of_channel = socket.socket(fileno=self._inheritance.channel)
        self._channel.adopt(self._reactor, end_of_channel)
        assets.subscribe(self._report_progress)

    def failed(self, reason: str) -> None:
        """Tell the old program why this one cannot go on."""
        if self._owns:
            return
        if self._assets is None:  # the reactor does not run yet
            self._inheritance.report_failure(reason)
        else:
            self._send_once("failed", reason=reason)

    def give_back(self) -> Deferred[None]:
        """Give everything back unless this program has taken over.

        Fires when the old program has registered its address again, and has closed the channel.
        """
        if self._owns or self._assets is None:
            return succeed(None)
        self._assets.release()
        self.failed("it was asked to stop")
        return self._given_back.add() if self._channel.is_open else succeed(None)

    # -- internals --

    def _report_progress(self) -> None:
        """Tell the old program about progress."""
        assets = self._assets
        if assets is None or self._owns:
            return
        if "prepared" not in self._sent:
            if assets.prepared:
                self._send_once("prepared", session=assets.session)
        elif self._taking_over and assets.settled:
            self._send_once("ready")

    def _send_once(self, kind: str, **values: Any) -> None:
        if kind not in self._sent:
            self._sent.add(kind)
            self._channel.send(kind, **values)

    def _on_message(self, message: Mapping[str, Any]) -> None:
        assert self._assets is not None
        kind = message.get("say")
        if kind == "go":
            self._taking_over = True
            self._log.info("upgrade: taking over from the old program")
            self._assets.resume()
            self._assets.take_address(message["session"], message["out"])
            self._report_progress()
        elif kind == "yours":
            self._owns = True
            self._assets.take_over(message["pidfile"])
        elif kind == "stop":
            self._owns = True  # so that this program deregisters its own address
            self._end("the old program was asked to stop")

    def _on_close(self) -> None:
        self._given_back.fire(None)
        if not self._owns and self._assets is not None:
            self._assets.release()
            self._fail("upgrade: the old program goes on, or has ended without handing over")
