"""Server-sent events: send changes of the status page to all of its viewers.

See https://html.spec.whatwg.org/multipage/server-sent-events.html.  All clients get the same
events: the sections that differ from those that were sent last.  Nothing is rendered while there
are no clients.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from zkservice.web import Stream, StreamView

__all__ = ["EVENTS", "EventFeed", "event_view"]

#: The path from which the page gets its events.
EVENTS: Final = "/-/events"

#: Seconds between two checks of what has changed.
_INTERVAL: Final = 0.5
#: Seconds without an event after which a comment is sent: only sending shows a lost connection.
_SILENCE: Final = 15.0
#: The most streams at a time; a further one ends the oldest.
_MAX_CLIENTS: Final = 16
#: Milliseconds after which a browser connects again.
_RETRY: Final = 1000
_HEADERS: Final = (
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Accel-Buffering", "no"),
)

Sections = Mapping[str, str]


class EventFeed:
    """Sends events to streams.

    Args:
        fetch: returns the HTML of all sections, by their ids.
        clock: the reactor.
    """

    _log = Logger()

    def __init__(self, fetch: Callable[[], Deferred[Sections]], clock: Any) -> None:
        self._fetch = fetch
        self._clock = clock
        self._streams: dict[Stream, None] = {}
        self._sent: dict[str, str] = {}  # the sections as all streams have them
        self._last_sent = 0.0
        self._failing = False
        self._loop = LoopingCall(self._check)
        self._loop.clock = clock

    def opened(self, stream: Stream) -> None:
        """Send a new client all sections, and later those that change."""
        stream.send(f"retry: {_RETRY}\n\n".encode())
        if self._sent:
            stream.send(_event(self._sent))
        self._streams[stream] = None
        if not self._loop.running:
            self._loop.start(_INTERVAL).addErrback(
                lambda failure: self._log.failure("the page is no longer updated", failure)
            )

    def lost(self, stream: Stream) -> None:
        """Remove a client that has disconnected."""
        self._streams.pop(stream, None)
        if not self._streams and self._loop.running:
            self._loop.stop()
            self._sent = {}

    def _check(self) -> Deferred[None]:
        return self._fetch().addCallbacks(self._send_changes, self._cannot_check)

    def _send_changes(self, sections: Sections) -> None:
        self._failing = False
        changed = {name: each for name, each in sections.items() if self._sent.get(name) != each}
        now = self._clock.seconds()
        if changed:
            self._send(_event(changed), now)
        elif now - self._last_sent >= _SILENCE:
            self._send(b":\n\n", now)
        if self._streams:
            self._sent.update(changed)

    def _send(self, data: bytes, now: float) -> None:
        self._last_sent = now
        for stream in list(self._streams):
            stream.send(data)

    def _cannot_check(self, failure: Failure) -> None:
        if not self._failing:
            self._failing = True
            self._log.warn(
                "the status page is not updated: {reason}; trying again",
                reason=failure.getErrorMessage(),
            )


def _event(sections: Sections) -> bytes:
    # JSON has no line end that would end the field.
    return f"event: sections\ndata: {json.dumps(sections)}\n\n".encode()


def event_view(fetch: Callable[[], Deferred[Sections]], clock: Any) -> StreamView:
    """The view at `EVENTS`.

    Args:
        fetch: returns the HTML of all sections, by their ids.
    """
    return StreamView(EventFeed(fetch, clock), _HEADERS, _MAX_CLIENTS)
