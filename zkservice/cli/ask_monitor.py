"""The commands that ask a running service, over its monitor: ask, check and get-addr."""

from __future__ import annotations

import json
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.cli.context import Context, Exit
from zkservice.errors import AddressError, ConfigurationError
from zkservice.registry import parse_address
from zkservice.tree.paths import normalize

#: What can go wrong on the way to somebody.
_UNREACHABLE: Final = (ConnectError, DNSLookupError, TimeoutError)


#: How others begin to reply to a line: HTTP, SSH, telnet, TLS alerts, and ZooKeeper, which takes
#: ``status`` for its command ``stat``.
_OTHERS: Final = (
    *("HTTP/", "SSH-", "\ufffd", "\x15\x03", "Zookeeper version:"),
    *("stat is not executed", "This ZooKeeper instance is not currently serving requests"),
)


async def ask(context: Context) -> Exit:
    """Show what a monitor answers."""
    answer = await _answer(context, " ".join(context.options.words) or "help")
    if context.options.json:
        context.terminal.out_json(_value(answer))
    elif answer:
        context.terminal.out(answer)
    return Exit.DONE


async def get_addr(context: Context) -> Exit:
    """Show the addresses that a service is registered with."""
    addresses = await _addresses(context)
    if context.options.json:
        context.terminal.out_json(addresses)
    elif addresses:
        context.terminal.out(" ".join(addresses))
    else:
        context.terminal.error(f"nothing is registered under {context.options.path}")
    return Exit.DONE if addresses else Exit.FAILED


async def check(context: Context) -> Exit:
    """Tell whether a service is registered, and listens where it says."""
    terminal, accepting = context.terminal, {}
    for address in await _addresses(context):
        accepting[address] = await _accepts(context, address)
    if terminal.json:
        terminal.out_json(accepting)
    elif not accepting:
        terminal.error(f"nothing is registered under {context.options.path}")
    return Exit.DONE if accepting and all(accepting.values()) else Exit.FAILED


async def _accepts(context: Context, address: str) -> bool:
    """Connect to an address; a person at a terminal is told also of success."""
    terminal = context.terminal
    try:
        connection = await _connect(context, _endpoint(context, address), _Hush())
    except _UNREACHABLE as error:
        terminal.error(f"{address} does not accept connections: {_why(error)}")
        return False
    connection.transport.loseConnection()
    if terminal.stderr.isatty() and not terminal.json:
        terminal.note(f"{address} is registered and accepts connections")
    return True


async def _addresses(context: Context) -> list[str]:
    """What the monitor knows to be registered under the path."""
    options = context.options
    answer = await _answer(context, f"servers {normalize(options.path)}")
    try:
        for address in answer.split():
            parse_address(address)
    except AddressError:
        raise _no_monitor(context, answer) from None
    return answer.split()


async def _answer(context: Context, line: str) -> str:
    """What the monitor says to a line.

    Some commands have an empty reply, and so has a server that closes the connection on what it
    does not understand.  A monitor can be told from those by its help, which is never empty.

    Raises:
        ConfigurationError: it does not listen, or replies with an error, or is no monitor.
    """
    answer = await _reply(context, line)
    if answer.startswith(_OTHERS) or (not answer and not await _reply(context, "help")):
        raise _no_monitor(context, answer)
    if answer.startswith("error:"):
        raise ConfigurationError(f"the monitor at {context.options.addr} says: {answer}")
    return answer


def _no_monitor(context: Context, answer: str) -> ConfigurationError:
    first = answer.partition("\n")[0].strip()[:60]
    said = f"it answers {first!r}" if answer else "it closes the connection without a reply"
    return ConfigurationError(f"what listens at {context.options.addr} is no monitor; {said}")


async def _reply(context: Context, line: str) -> str:
    """All that comes for a line."""
    options, question = context.options, _Question(line)
    try:
        await _connect(context, _endpoint(context, options.addr), question)
        answer = await question.answer.addTimeout(options.timeout, context.reactor)
    except _UNREACHABLE as error:
        raise ConfigurationError(f"there is no monitor at {options.addr}: {_why(error)}") from None
    return answer


def _value(answer: str) -> Any:
    """An answer in JSON as what it says, any other as text."""
    try:
        return json.loads(answer)
    except ValueError:
        return answer


def _endpoint(context: Context, address: str) -> IStreamClientEndpoint:
    """Where an address is: ``host:port``, or the path of a socket."""
    reactor, timeout = context.reactor, context.options.timeout
    if "/" in address:
        return UNIXClientEndpoint(reactor, address, timeout)
    try:
        host, port = parse_address(address)
    except AddressError as error:
        raise ConfigurationError(str(error)) from None
    return HostnameEndpoint(reactor, host or "127.0.0.1", port, timeout)


async def _connect(context: Context, where: IStreamClientEndpoint, protocol: Protocol) -> Any:
    connecting = where.connect(Factory.forProtocol(lambda: protocol))
    return await connecting.addTimeout(context.options.timeout, context.reactor)


def _why(error: Exception) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else str(error).rstrip(".")


class _Hush(Protocol):
    """A connection with nothing to say."""


class _Question(Protocol):
    """A line sent; the answer is all that comes until the other side hangs up."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._heard: list[bytes] = []
        self.answer: Deferred[str] = Deferred(self._given_up)

    def _given_up(self, _: object) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._line.encode() + b"\n")

    @override
    def dataReceived(self, data: bytes) -> None:
        self._heard.append(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answer.called:
            self.answer.callback(b"".join(self._heard).decode("utf-8", "replace").strip())
