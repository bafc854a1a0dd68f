"""Views that go on sending: each client keeps its connection, and gets what is new.

A stream lives in the reactor.  It never waits for its client: one that is too far behind is cut
off, because the others would have to wait with it, or memory would grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from zkservice.errors import ClientGoneError
from zkservice.web.wsgi import Response

__all__ = ["Stream", "StreamOwner", "StreamView", "Streams"]


class StreamOwner(Protocol):
    """What feeds streams."""

    def opened(self, stream: Stream) -> None:
        """A client has come: send to it until it is lost, or close it."""
        ...

    def lost(self, stream: Stream) -> None:
        """A client has left, or was cut off: the stream takes nothing more."""
        ...


class Stream:
    """A response that goes on.

    Args:
        response: its head has been said, and has not gone.
        ended: called once nothing more will be sent.
    """

    def __init__(self, response: Response, ended: Callable[[Stream], object]) -> None:
        self._response = response
        self._ended: Callable[[Stream], object] | None = ended

    def send(self, data: bytes) -> None:
        """Send a block; cut the client off if it is too far behind."""
        if self._ended is None:
            return
        try:
            self._response.write(data)
        except ClientGoneError as error:
            self._response.abort(str(error))
            self.lost()

    def close(self) -> None:
        """End the response in good order."""
        if self._ended is not None:
            self._response.finish()
            self.lost()

    def lost(self) -> None:
        """The client takes nothing more."""
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(self)


class StreamView:
    """A view whose response goes on until the client leaves.

    Args:
        owner: feeds the streams.
        headers: of the response.
        most: how many streams there may be; one more ends the oldest.
    """

    def __init__(self, owner: StreamOwner, headers: Sequence[tuple[str, str]], most: int) -> None:
        self.headers = list(headers)
        self.most = most
        self.owner = owner
        self.__name__ = type(owner).__name__

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Never called: the front end opens a stream."""
        raise NotImplementedError("a StreamView has to be opened")


class Streams:
    """The streams of one front end."""

    def __init__(self) -> None:
        self._open: dict[Stream, StreamOwner] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether there can be no more streams, because the process is about to end."""
        return self._closed

    def open(self, view: StreamView, response: Response) -> Stream:
        """Begin a stream.

        If there are enough for the view, the oldest ends: clients that only hold their streams
        must not keep others out, and a browser connects again by itself.
        """
        others = [stream for stream, owner in self._open.items() if owner is view.owner]
        for oldest in others[: max(0, len(others) + 1 - view.most)]:
            oldest.close()
        response.start("200 OK", view.headers)
        stream = Stream(response, self._ended)
        self._open[stream] = view.owner
        return stream

    def close(self) -> None:
        """End all streams, and begin no more."""
        self._closed = True
        for stream in list(self._open):
            stream.close()

    def _ended(self, stream: Stream) -> None:
        self._open.pop(stream).lost(stream)
