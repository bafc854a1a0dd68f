"""The line protocol of the monitor: a command and its words in, a reply of text lines out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from inspect import getdoc
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from zkservice.errors import ConfigurationError, InvalidPathError
from zkservice.monitor.connection_slots import ConnectionSlots, SlotPriority
from zkservice.monitor.detect_http import looks_like_http
from zkservice.monitor.replies import Command, MoreLines, TwoForms

#: The longest line that is read, in bytes.
MAX_LINE: Final = 4096
PROMPT: Final = b"> "

# Words and messages are truncated to this length in replies.
_MAX_SHOWN: Final = 300
# Characters of a reply: a command that has no bound of its own must not fill the memory.
_MAX_REPLY: Final = 1 << 22

# Errors that the user can correct: the reply is their message, and no traceback is logged.
_USER_ERRORS: Final = (ConfigurationError, InvalidPathError)

_log = Logger(namespace="zkservice.monitor")


@implementer(IHalfCloseableProtocol)
class Monitor(LineReceiver, TimeoutMixin):
    """One connection: a command and its reply; or ``interactive`` and many commands.

    While a command runs, nothing is read.  So replies come in the order of the commands.  Clients
    that send too much, or do not read the replies, get backpressure.
    """

    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE

    def __init__(self, factory: MonitorFactory) -> None:
        self._factory = factory
        self._commands: dict[str, Command] = {
            **factory.all_commands(),
            "help": self._help,
            "interactive": self._start_session,
            "quit": self._end_session,
        }
        self._interactive = False
        self._last: tuple[str, list[str]] | None = None  # an empty line repeats it
        self._more: Callable[[str], Any] | None = None  # a command that receives the next line
        self._closing = False
        self._unread = False  # whether the transport's buffer is full of replies
        self._running: Deferred[Any] | None = None

    # -- as a user of a slot --------------------------------------------------------------

    @property
    def priority(self) -> SlotPriority:
        """How important the connection is among those of the factory."""
        if self._closing:
            return SlotPriority.ENDING
        if self._running is not None:
            return SlotPriority.BUSY
        session = self._interactive or self._more is not None
        return SlotPriority.SESSION if session else SlotPriority.SILENT

    def evict(self) -> None:
        """Close the connection: another one needs its slot."""
        if self._closing or self._unread:  # replies that were not read would keep it open
            self.abort()
        else:
            self._close("error: the connection was idle, and another one needs its place")

    # -- called by the transport --------------------------------------------------------

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self._factory.slots.occupy(self)
        self.transport.registerProducer(self, True)  # type: ignore[attr-defined]
        self.setTimeout(self._factory.line_timeout)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._factory.slots.release(self)
        self._closing = True
        self.setTimeout(None)
        if self._running is not None:
            self._running.cancel()

    def readConnectionLost(self) -> None:  # noqa: N802  # IHalfCloseableProtocol's name
        """The user sends nothing more; the last line may lack its line end."""
        self._interactive = False
        last_line = self.clearLineBuffer()
        if last_line:
            self.lineReceived(last_line)
        elif not self._closing:
            self._close("")

    def writeConnectionLost(self) -> None:  # noqa: N802  # IHalfCloseableProtocol's name
        """Do nothing: this side closes both directions together."""

    @override
    def pauseProducing(self) -> None:
        """The transport's buffer is full: read no more commands until the replies are read."""
        self._unread = True
        super().pauseProducing()

    @override
    def resumeProducing(self) -> None:
        """The transport has room again."""
        self._unread = False
        self._resume_reading()

    def _resume_reading(self) -> None:
        if self.paused and self._running is None and not self._unread:
            super().resumeProducing()

    @override
    def callLater(self, period: float, func: Callable[[], None]) -> Any:
        if self._factory.clock is None:
            return super().callLater(period, func)
        return self._factory.clock.callLater(period, func)

    @override
    def timeoutConnection(self) -> None:
        if self._closing:  # the user does not read the last reply
            self.abort()
            return
        missing = "command" if self._running is None else "reply"
        self._close(f"error: no {missing} within {self.timeOut:g} seconds")
        if self._running is not None:
            self._running.cancel()

    @override
    def lineLengthExceeded(self, line: bytes) -> None:
        self._close(f"error: a line has at most {MAX_LINE} bytes")

    @override
    def lineReceived(self, line: bytes) -> None:
        if self._closing:
            return
        if looks_like_http(line):
            self._close("error: this is a monitor, which does not speak HTTP")
            return
        text = line.decode("utf-8", "replace")
        name, *words = text.split() or [""]
        if self._more is not None:
            receive, self._more = self._more, None
            self._call("the next line", receive, text.removesuffix("\r"))
        elif name or not self._interactive:
            self._run(name or "help", words)
        elif self._last is not None:
            self._run(*self._last)
        else:
            self._reply("")

    def abort(self) -> None:
        """Drop the connection at once."""
        assert self.transport is not None
        self.transport.abortConnection()  # type: ignore[attr-defined]

    # -- commands and their replies ----------------------------------------------------

    def _run(self, name: str, words: list[str]) -> None:
        command = self._commands.get(name)
        if command is None:
            self._reply(f"error: {_unknown(name)}")
            return
        if self._interactive:
            self._last = name, words
        self._call(name, command, words)

    def _call(self, name: str, command: Callable[[Any], Any], argument: object) -> None:
        self._factory.slots.occupy(self)
        self.setTimeout(self._factory.timeout)
        super().pauseProducing()  # not that of this class: the transport's buffer is not full
        running: Deferred[Any] = maybeDeferred(command, argument)
        self._running = running
        running.addCallback(self._returned)
        running.addErrback(self._failed, name)

    def _returned(self, result: object) -> None:
        if isinstance(result, MoreLines):
            self._ask_for_more(result)
            return
        if isinstance(result, TwoForms):
            result = result.text if self._interactive else result.json
        if not isinstance(result, str):
            raise TypeError(f"the command returned a {type(result).__name__}, not a str")
        self._reply(result)

    def _ask_for_more(self, result: MoreLines) -> None:
        self._running = None
        if self._closing:
            return
        assert self.transport is not None
        self._more = result.receive
        self.transport.write(_encoded(result.text))
        self.setTimeout(self._factory.timeout)
        self._resume_reading()

    def _failed(self, failure: Failure, name: str) -> None:
        if self._closing and failure.check(CancelledError):
            return  # cancelled by this connection
        if failure.check(*_USER_ERRORS) is None:
            _log.failure("the monitor's command {command} failed", failure, command=name)
        problem = " ".join(str(failure.value).split()) or type(failure.value).__name__
        self._reply(f"error: {_cut(problem)}")

    def _reply(self, text: str) -> None:
        self._running = None
        if self._closing:
            return
        if not self._interactive:
            self._close(text)
            return
        assert self.transport is not None
        self.transport.write(_lines(text) + PROMPT)
        self.setTimeout(self._factory.timeout)
        self._resume_reading()

    def _close(self, text: str) -> None:
        """Send the final reply and close; a time-out drops a connection that does not read it."""
        assert self.transport is not None
        if self._closing:
            return
        self._closing = True
        # A paused producer would keep the connection open.
        self.transport.unregisterProducer()  # type: ignore[attr-defined]
        self.transport.write(_lines(text))
        self.transport.loseConnection()
        self.setTimeout(self._factory.timeout)

    # -- the built-in commands -------------------------------------------------------------

    def _help(self, words: list[str]) -> str:
        """List the commands, or explain one: help [command]."""
        if not words:
            width = max(map(len, self._commands))
            lines = [
                f"{name:<{width}}  {_documentation(command).partition(chr(10))[0]}".rstrip()
                for name, command in sorted(self._commands.items())
            ]
            return "\n".join(lines)
        command = self._commands.get(words[0])
        if command is None:
            return f"error: {_unknown(words[0])}"
        return _documentation(command) or f"{words[0]} has no help."

    def _start_session(self, words: list[str]) -> str:
        """Keep the connection open and show a prompt, until quit.

        An empty line repeats the last command.
        """
        self._interactive = True
        return ""

    def _end_session(self, words: list[str]) -> str:
        """Close the connection."""
        self._interactive = False
        return ""


BUILT_IN: Final = frozenset({"help", "interactive", "quit"})


class Refusal(Protocol):
    """Reply that there are too many connections, and close."""

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"error: too many connections to the monitor\n")
        self.transport.loseConnection()


class MonitorFactory(Factory):
    """Makes the connections of a monitor.

    Args:
        commands: the commands by name; ``help``, ``interactive`` and ``quit`` are built in.  A
            command is called in the reactor's thread.
        timeout: seconds for the reply of a command, and for the next line of an interactive
            session.  A command that takes longer is cancelled.
        line_timeout: seconds in which a new connection must send its first line.
        max_connections: the maximal number of connections.  When one more comes, the one that has
            been idle longest is closed: first those without a command, then interactive sessions.
            While all of them run commands, the new connection is refused.
        clock: for the time-outs; the global reactor if it is None.
        plugins: returns more commands; called for each connection.  A command whose name is in
            use is ignored.

    Raises:
        ValueError: a command's name is built in, or is not a single word.
    """

    noisy = False

    def __init__(
        self,
        commands: Mapping[str, Command],
        *,
        timeout: float = 120.0,
        line_timeout: float = 5.0,
        max_connections: int = 32,
        clock: IReactorTime | None = None,
        plugins: Callable[[], Mapping[str, Command]] = dict,
    ) -> None:
        for name in commands:
            if name in BUILT_IN:
                raise ValueError(f"the monitor's command {name!r} is built in")
            if name.split() != [name]:
                raise ValueError(f"a command of the monitor is one word, not {name!r}")
        self.commands = dict(commands)
        self._plugins = plugins
        self.timeout = timeout
        self.line_timeout = line_timeout
        self.clock = clock
        self.slots: ConnectionSlots[Monitor] = ConnectionSlots(max_connections)

    def all_commands(self) -> dict[str, Command]:
        """The commands, and those of plugins; a failure of these is logged."""
        try:
            plugins = self._plugins()
        except Exception:  # noqa: BLE001 - the plugin's code may raise anything
            _log.failure("the monitor's plugins could not be asked for their commands")
            plugins = {}
        return {**plugins, **self.commands}

    @override
    def buildProtocol(self, addr: IAddress | None) -> Monitor | Refusal:
        return Monitor(self) if self.slots.make_room() else Refusal()

    @override
    def stopFactory(self) -> None:
        for connection in list(self.slots.connections):
            connection.abort()


def _lines(text: str) -> bytes:
    """The text as whole lines of bytes."""
    raw = _encoded(text.rstrip("\n"))
    return raw + b"\n" if raw else b""


def _encoded(text: str) -> bytes:
    """The text in UTF-8; characters without an encoding are replaced, and a long text is cut."""
    if len(text) > _MAX_REPLY:
        text = f"{text[:_MAX_REPLY]}\n... and {len(text) - _MAX_REPLY} characters more"
    return text.encode("utf-8", "backslashreplace")


def _unknown(name: str) -> str:
    return f"there is no command {_cut(name)!r}; try 'help'"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def _documentation(command: Command) -> str:
    """The docstring without its indentation; of a partial, its function's."""
    inner: Any = command
    while isinstance(inner, partial):
        inner = inner.func
    return getdoc(inner) or ""
