"""Keep targets up to date with the registrations, and run a command after a change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zkservice.deferreds import Alarm, Backoff, Reconciler
from zkservice.errors import PublishError
from zkservice.formats.consumers import Consumer, Listing, sort_out
from zkservice.publishing.commands import CommandRunner
from zkservice.publishing.source import Source

__all__ = ["Publication", "PublishTarget", "Publisher"]

#: Seconds: the shortest and the longest pause after a failure.
RETRY: Final = 1.0
RETRY_MAX: Final = 60.0
#: Addresses that one line of the log names.
_SHOWN: Final = 5


class PublishTarget(Protocol):
    """A place that a list of providers is written to."""

    name: str
    consumer: Consumer

    @property
    def recheck(self) -> float | None:
        """Seconds after which to publish again although nothing has changed; None: never."""
        ...

    @property
    def exists(self) -> bool:
        """Whether the target has contents that can be kept."""
        ...

    @property
    def command_pending(self) -> bool:
        """Whether the command still has to run after the last change."""
        ...

    def command_succeeded(self) -> None:
        """Note that the command has succeeded."""

    def publish(self, listings: Sequence[Listing]) -> Deferred[bool]:
        """Bring the target up to date; fires with whether it has changed."""
        ...

    def preview(self, listings: Sequence[Listing]) -> Deferred[str]:
        """What `publish` would change; "" for no change."""
        ...


@dataclass(frozen=True)
class Publication:
    """A target and the services that are written to it.

    Attributes:
        target: the target.
        sources: the services.
        keep_last: leave the target unchanged while no provider is registered.
    """

    target: PublishTarget
    sources: tuple[Source, ...]
    keep_last: bool = False


class Publisher:
    """Keeps targets that share a command up to date.

    Args:
        publications: the targets with their services.
        command: the shell command to run when a target has changed; "" for none.
        runner: runs the command.
        connected: whether there is a connection to ZooKeeper, so that listings are current.
        clock: tells the time.
        random: returns a number from 0 to 1, for jitter.
        interval: seconds between a command and the next pass, so that a service that changes
            all the time does not make its consumer reload all the time.
    """

    _log = Logger()

    def __init__(
        self,
        publications: Sequence[Publication],
        command: str,
        runner: CommandRunner,
        connected: Callable[[], bool],
        clock: Any,
        random: Callable[[], float],
        interval: float,
    ) -> None:
        self._publications = tuple(publications)
        self._command = command
        self._runner = runner
        self._connected = connected
        self._interval = interval
        self._backoff = Backoff(RETRY, RETRY_MAX, random)
        self._reconciler = Reconciler(self._pass, clock, self._crashed, self._ready)
        self._pause = Alarm(clock, self._pause_ended)
        self._last_warnings: dict[str, str] = {}  # by target
        self._stopped = False

    def trigger(self) -> None:
        """Start a pass soon: something may have changed."""
        self._reconciler.trigger()

    def stop(self) -> Deferred[None]:
        """Stop publishing; fires when the running pass is over."""
        self._stopped = True
        self._pause.cancel()
        self._reconciler.cancel_timer()
        return self._reconciler.when_idle()

    async def publish_once(self) -> list[str]:
        """Publish now, and run the command; returns what went wrong, one text for each error."""
        problems = []
        for publication in self._publications:
            try:
                await self._publish(publication)
            except PublishError as error:
                problems.append(str(error))
        try:
            await self._run_command()
        except PublishError as error:
            problems.append(str(error))
        return problems

    async def preview(self) -> str:
        """The changes that a pass would make.

        Raises:
            PublishError: the service or a target cannot be read.
        """
        shown = []
        for publication in self._publications:
            listings = self._listings(publication)
            if listings is not None:
                shown.append(await publication.target.preview(listings))
        return "".join(shown)

    # -- a pass ----------------------------------------------------------------------

    def _ready(self) -> bool:
        return not self._stopped and self._connected() and not self._pause.is_set

    def _pause_ended(self) -> None:
        if self._reconciler.triggered:
            self._reconciler.trigger()

    async def _pass(self) -> None:
        problems = await self.publish_once()
        if self._stopped:
            return
        if not problems:
            self._backoff.reset()
            rechecks = [each.target.recheck for each in self._publications]
            for seconds in filter(None, rechecks):
                self._reconciler.trigger_in(seconds)
            return
        pause = self._backoff.next()
        for problem in problems:
            self._log.error(
                "{problem}; trying again in {pause:.1f} s", problem=problem, pause=pause
            )
        self._reconciler.trigger_in(pause)

    async def _publish(self, publication: Publication) -> None:
        listings = self._listings(publication)
        if listings is None:
            return
        target = publication.target
        if await target.publish(listings):
            self._log.info(
                "{target}: {available} of {count} providers",
                target=target.name,
                available=sum(len(each.available) for each in listings),
                count=sum(len(each.members) for each in listings),
            )

    async def _run_command(self) -> None:
        pending = [each.target for each in self._publications if each.target.command_pending]
        if not pending or self._stopped:
            return
        if self._command:
            await self._runner.run(self._command)
            if not self._stopped:
                self._pause.set(self._interval)
        for target in pending:
            target.command_succeeded()

    def _listings(self, publication: Publication) -> Sequence[Listing] | None:
        """What to publish; None to leave the target unchanged."""
        listings = []
        target = publication.target
        for source in publication.sources:
            listing = source.listing()
            if listing is None:
                return None
            if source.error is not None and target.exists:
                self._warn_once(target.name, f"{source.error}; leaving it unchanged")
                return None
            listings.append(listing)
        kept, problems = sort_out(target.consumer, listings)
        if publication.keep_last and target.exists and not any(each.available for each in kept):
            self._warn_once(target.name, "no provider is registered; leaving it unchanged")
            return None
        self._warn_once(target.name, _left_out(problems))
        return kept

    def _warn_once(self, name: str, what: str) -> None:
        """Log a warning about a target, once for each reason."""
        if what and self._last_warnings.get(name) != what:
            self._log.warn("{target}: {what}", target=name, what=what)
        self._last_warnings[name] = what

    def _crashed(self, failure: Failure) -> None:
        pause = self._backoff.next()
        self._log.failure("publishing failed; trying again in {pause:.1f} s", failure, pause=pause)
        if not self._stopped:
            self._reconciler.trigger_in(pause)


def _left_out(problems: dict[str, str]) -> str:
    """One line that names the members that were left out, with the reasons."""
    if not problems:
        return ""
    some = [f"{address!r} ({problem})" for address, problem in list(problems.items())[:_SHOWN]]
    more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return f"left out {', '.join(some)}{more}"
