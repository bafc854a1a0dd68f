"""``zkservice top``: a live view of services, through their monitors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, TimeoutError
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from zkservice.cli.ask_monitor import ask_monitor
from zkservice.cli.context import Context, Exit
from zkservice.cli.options import MonitorOptions, TopOptions
from zkservice.cli.top_model import MonitorReply, oldest_requests, row_of
from zkservice.cli.top_screen import Keys, LiveScreen, Size, render, screen_size
from zkservice.errors import ConfigurationError, ZooKeeperError
from zkservice.zookeeper import ZooKeeper

__all__ = ["top"]

#: The most services that are shown; few screens have more lines.
_MAX_SERVICES: Final = 200
_QUIT_KEYS: Final = (b"q", b"Q", b"\x03", b"\x04")


async def top(context: Context, options: TopOptions) -> Exit:
    """Show what services are doing, until q is pressed; once, if the output is not a terminal."""
    if not options.addresses and options.path is None:
        raise ConfigurationError("name a monitor's address, or a path with --path")
    async with AsyncExitStack() as stack:
        zk = None
        if options.path is not None:
            zk = await stack.enter_async_context(context.connected(options.zookeeper, options))
        view = TopView(context, options, zk)
        terminal = context.terminal
        if (
            options.once
            or options.json
            or not (terminal.stdin.isatty() and terminal.stdout.isatty())
        ):
            return await _show_once(context, options, view)
        render("", [], [], Size())  # raises if rich is missing, before the screen is changed
        with LiveScreen(terminal) as screen:
            await _show_live(context, options, view, screen)
    return Exit.DONE


async def _show_once(context: Context, options: TopOptions, view: TopView) -> Exit:
    await view.refresh()
    if options.json:
        context.terminal.out_json({name: one.status for name, one in view.polled.items()})
    else:
        lines = view.frame(screen_size(context.terminal), colour=False)
        context.terminal.out("\n".join(lines))
    return Exit.DONE if view.reached else Exit.FAILED


async def _show_live(
    context: Context, options: TopOptions, view: TopView, screen: LiveScreen
) -> None:
    quitting: Deferred[None] = Deferred()

    def pressed(data: bytes) -> None:
        if (not data or any(key in data for key in _QUIT_KEYS)) and not quitting.called:
            quitting.callback(None)

    def failed(failure: Failure) -> None:
        if not quitting.called:
            quitting.errback(failure)

    keys = Keys(context.terminal.stdin.fileno(), context.reactor, pressed)
    keys.start()
    showing = Deferred.fromCoroutine(_refresh_for_ever(context, options, view, screen))
    showing.addErrback(failed)
    try:
        await quitting
    finally:
        keys.stop()
        showing.cancel()


async def _refresh_for_ever(
    context: Context, options: TopOptions, view: TopView, screen: LiveScreen
) -> None:
    while True:
        await view.refresh()
        screen.show(view.frame(screen_size(context.terminal), screen.colour))
        await deferLater(context.reactor, options.interval, lambda: None)


class TopView:
    """The services, and the latest replies of their monitors."""

    def __init__(self, context: Context, options: TopOptions, zk: ZooKeeper | None) -> None:
        self._context = context
        self._options = options
        self._zk = zk
        self._previous: dict[str, MonitorReply] = {}
        self.polled: dict[str, MonitorReply] = {}
        self._note = ""

    @property
    def reached(self) -> bool:
        """Whether a monitor has replied."""
        return any(not one.error for one in self.polled.values())

    async def refresh(self) -> None:
        """Ask all monitors at once."""
        addresses = [*self._options.addresses, *await self._registered()]
        asked = dict.fromkeys(addresses[:_MAX_SERVICES])
        outcomes: Any = await DeferredList(
            [Deferred.fromCoroutine(self._poll(each)) for each in asked], consumeErrors=True
        )
        self._previous = self.polled
        now = self._context.reactor.seconds()
        self.polled = {
            address: outcome if succeeded else MonitorReply(now, error=outcome.getErrorMessage())
            for address, (succeeded, outcome) in zip(asked, outcomes, strict=True)
        }

    async def _registered(self) -> Sequence[str]:
        """The monitors of what is registered now; while ZooKeeper is away, those known last."""
        if self._zk is None or self._options.path is None:
            return []
        try:
            reading = self._zk.members(self._options.path)
            members = await reading.addTimeout(self._options.timeout, self._context.reactor)
        except (ZooKeeperError, TimeoutError) as error:
            self._note = str(error) or "ZooKeeper does not reply"
            return [each for each in self.polled if each not in self._options.addresses]
        monitors = [member.properties.get("monitor") for member in members]
        without_monitor = sum(not isinstance(each, str) for each in monitors)
        self._note = f"{without_monitor} without --monitor" if without_monitor else ""
        return sorted(each for each in monitors if isinstance(each, str))

    async def _poll(self, address: str) -> MonitorReply:
        options = MonitorOptions(addr=address, timeout=self._options.timeout)
        status = await ask_monitor(self._context, options, "status --json")
        requests = await ask_monitor(self._context, options, "requests --json")
        try:
            values, reports = json.loads(status), json.loads(requests)
        except ValueError:
            values, reports = None, None
        if not isinstance(values, dict):
            raise ConfigurationError("its monitor is of another release")
        if not isinstance(reports, list):
            reports = []
        return MonitorReply(self._context.reactor.seconds(), values, reports)

    def frame(self, size: Size, colour: bool) -> list[str]:
        """The lines to show now."""
        rows = [
            row_of(address, self._previous.get(address), one)
            for address, one in self.polled.items()
        ]
        room = max(0, size.lines - len(rows) - 4)
        where = self._options.path or "zkservice top"
        title = f"{where}: {len(rows)} service{'s' * (len(rows) != 1)}"
        note = f"  {self._note}" if self._note else ""
        return render(
            f"{title}{note}  (q quits)", rows, oldest_requests(self.polled, room), size, colour
        )
