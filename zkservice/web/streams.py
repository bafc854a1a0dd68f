"""Streaming views: each client keeps its connection, and gets data as it comes.

Streams run in the reactor.  A client that is too far behind is cut off: otherwise the other clients
would have to wait for it, or the memory would grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from zkservice.errors import ClientGoneError
from zkservice.web.wsgi import Response

__all__ = ["Stream", "StreamOwner", "StreamView", "Streams"]


class StreamOwner(Protocol):
    """Sends data to streams."""

    def opened(self, stream: Stream) -> None:
        """Start to send to a new client, until `lost` is called or the stream is closed."""
        ...

    def lost(self, stream: Stream) -> None:
        """Stop sending to a client that has left or was cut off."""
        ...


class Stream:
    """A response of unlimited length.

    Args:
        response: its head was set, but not sent yet.
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
        """End the response completely, so that the client sees its end."""
        if self._ended is not None:
            self._response.finish()
            self.lost()

    def lost(self) -> None:
        """Handle that the client has left."""
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(self)


class StreamView:
    """A view whose response goes on until the client leaves.

    Args:
        owner: sends data to the streams.
        headers: the response's headers.
        most: the maximal number of streams; one more ends the oldest.
    """

    def __init__(self, owner: StreamOwner, headers: Sequence[tuple[str, str]], most: int) -> None:
        self.headers = list(headers)
        self.most = most
        self.owner = owner
        self.__name__ = type(owner).__name__

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Raise: the front end opens a stream instead of calling the view."""
        raise NotImplementedError("a StreamView has to be opened")


class Streams:
    """The streams of one front end."""

    def __init__(self) -> None:
        self._open: dict[Stream, StreamOwner] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether no more streams can be opened, because the process is stopping."""
        return self._closed

    def open(self, view: StreamView, response: Response) -> Stream:
        """Open a stream.

        Above the view's limit the oldest stream ends.  So clients that keep their streams open
        cannot shut out others, and browsers connect again by themselves.
        """
        others = [stream for stream, owner in self._open.items() if owner is view.owner]
        for oldest in others[: max(0, len(others) + 1 - view.most)]:
            oldest.close()
        response.start("200 OK", view.headers)
        stream = Stream(response, self._ended)
        self._open[stream] = view.owner
        return stream

    def close(self) -> None:
        """End all streams, and open no more."""
        self._closed = True
        for stream in list(self._open):
            stream.close()

    def _ended(self, stream: Stream) -> None:
        self._open.pop(stream).lost(stream)
