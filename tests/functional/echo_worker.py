"""A worker that echoes lines with its name, for the tests of the supervisor."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor  # noqa: TID251 - a program of its own
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger, globalLogBeginner
from twisted.protocols.basic import LineReceiver
from typing_extensions import override

from zkservice.supervisor import WorkerSide


class Echo(LineReceiver):
    """``hang`` stops the reactor, ``die`` ends the process; other lines come back."""

    @override
    def lineReceived(self, line: bytes) -> None:
        factory: Any = self.factory
        factory.lines += 1
        if line == b"hang":
            time.sleep(600)
        if line == b"die":
            raise SystemExit(3)
        self.sendLine(factory.name.encode() + b": " + line)


class EchoService(Factory):
    """What the worker serves."""

    protocol = Echo
    noisy = False
    lines = 0

    def __init__(self, name: str, settings: dict[str, Any], side: WorkerSide) -> None:
        if settings.get("broken"):
            raise ImportError("no module named\nnonsense")
        self.name = f"{name}/{settings.get('release', 0)}"
        Logger().info("{name} is made", name=name)

    @property
    def factories(self) -> Sequence[IProtocolFactory]:
        """One port."""
        factory: Any = self
        return [factory]

    def figures(self) -> tuple[int, int, dict[str, Any]]:
        """Lines so far."""
        return self.lines, 0, {"lines": self.lines}

    def answer(self, what: str, arguments: list[Any]) -> Any:
        """Says what it was asked."""
        return [self.name, what, *arguments]

    def reopen(self) -> None:
        """There are no files."""

    def drain(self, timeout: float) -> Deferred[None]:
        """Nothing runs."""
        return succeed(None)


def main() -> None:
    """Serve until the parent says otherwise."""
    at: Any = reactor
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        at.callLater(0, at.stop)

    side = WorkerSide(at, EchoService, leave)
    side.attach()
    observe: Any = side.observe
    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False)
    at.run()
    sys.exit(codes[-1] if codes else 0)


if __name__ == "__main__":
    main()
