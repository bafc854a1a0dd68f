"""The commands that ask the monitor of a running service: ask, check and get-addr."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from zkservice.cli.context import Context, Exit
from zkservice.cli.options import AddressOptions, AskOptions, MonitorOptions
from zkservice.errors import AddressError, ConfigurationError
from zkservice.registry import parse_address
from zkservice.znodes import normalize

#: Commands that reply in JSON if they are asked to; ``status`` and ``servers`` do so anyway.
WITH_JSON: Final = frozenset(
    ("gc", "registrations", "requests", "stats", "threads", "tree", "workers", "zookeeper")
)
#: Commands whose argument is the seconds that they take, each with the default.
_DURATIONS: Final = {"profile": 0.0, "drain": 30.0}

#: How a connection can fail.
_UNREACHABLE: Final = (ConnectError, DNSLookupError, TimeoutError)

#: How other servers begin their reply to a line: HTTP, SSH, telnet, TLS alerts, and ZooKeeper,
#: which takes ``status`` for its command ``stat``.
_OTHER_GREETINGS: Final = (
    *("HTTP/", "SSH-", "\ufffd", "\x15\x03", "Zookeeper version:"),
    *("stat is not executed", "This ZooKeeper instance is not currently serving requests"),
)


async def ask(context: Context, options: AskOptions) -> Exit:
    """Send a command to a monitor, and print the reply."""
    words = list(options.words) or ["help"]
    if options.json and words[0] in WITH_JSON:
        words.append("--json")
    elif words == ["status"] and not options.json and _is_for_people(context, options):
        words.append("--text")
    longer = replace(options, timeout=options.timeout + time_taken(words))
    reply = await ask_monitor(context, longer, " ".join(words))
    if options.json:
        context.terminal.out_json(_parsed(reply))
    elif reply:
        context.terminal.out(reply)
    return Exit.DONE


def _is_for_people(context: Context, options: AskOptions) -> bool:
    return options.text or context.terminal.stdout.isatty()


def time_taken(words: Sequence[str]) -> float:
    """How many seconds a command takes before it replies."""
    usual = _DURATIONS.get(words[0])
    if usual is None:
        return 0.0
    return float(words[1]) if len(words) == 2 and words[1].isdecimal() else usual


async def get_addr(context: Context, options: AddressOptions) -> Exit:
    """Print the addresses that a service is registered with."""
    addresses = await _addresses(context, options)
    if options.json:
        context.terminal.out_json(addresses)
    elif addresses:
        context.terminal.out(" ".join(addresses))
    else:
        context.terminal.error(f"this service is not registered under {options.path}")
    return Exit.DONE if addresses else Exit.FAILED


async def check(context: Context, options: AddressOptions) -> Exit:
    """Check that a service is registered, and that it accepts connections there."""
    accepting: dict[str, bool] = {}
    for address in await _addresses(context, options):
        accepting[address] = await _accepts(context, options, address)
    if options.json:
        context.terminal.out_json(accepting)
    elif not accepting:
        context.terminal.error(f"this service is not registered under {options.path}")
    return Exit.DONE if accepting and all(accepting.values()) else Exit.FAILED


async def _accepts(context: Context, options: AddressOptions, address: str) -> bool:
    """Connect to an address; at a terminal, success is printed too."""
    terminal = context.terminal
    try:
        connection = await _connect(context, options, address, Protocol())
    except _UNREACHABLE as error:
        terminal.error(f"{address} does not accept connections: {_reason(error)}")
        return False
    connection.transport.loseConnection()
    if terminal.stderr.isatty() and not options.json:
        terminal.note(f"{address} is registered and accepts connections")
    return True


async def _addresses(context: Context, options: AddressOptions) -> list[str]:
    """Ask the monitor which addresses are registered under the path."""
    reply = await ask_monitor(context, options, f"servers {normalize(options.path)}")
    try:
        for address in reply.split():
            parse_address(address)
    except AddressError:
        raise _no_monitor(options, reply) from None
    return reply.split()


async def ask_monitor(context: Context, options: MonitorOptions, line: str) -> str:
    """Ask a monitor.

    Some commands have an empty reply.  A server that closes the connection on an unknown protocol
    looks the same, but a monitor's reply to ``help`` is never empty.

    Raises:
        ConfigurationError: nothing listens at the address, or it is not a monitor, or the reply
            is an error.
    """
    reply = await _send(context, options, line)
    if reply.startswith(_OTHER_GREETINGS) or (
        not reply and not await _send(context, options, "help")
    ):
        raise _no_monitor(options, reply)
    if reply.startswith("error:"):
        raise ConfigurationError(f"the monitor at {options.addr} says: {reply}")
    return reply


def _no_monitor(options: MonitorOptions, reply: str) -> ConfigurationError:
    first = reply.partition("\n")[0].strip()[:60]
    behaviour = f"it replies {first!r}" if reply else "it closes the connection without a reply"
    return ConfigurationError(f"what listens at {options.addr} is not a monitor; {behaviour}")


async def _send(context: Context, options: MonitorOptions, line: str) -> str:
    """Send a line, and return the whole reply."""
    exchange = _LineExchange(line)
    try:
        await _connect(context, options, options.addr, exchange)
        return await exchange.reply.addTimeout(options.timeout, context.reactor)
    except _UNREACHABLE as error:
        raise ConfigurationError(
            f"there is no monitor at {options.addr}: {_reason(error)}"
        ) from None


def _parsed(reply: str) -> Any:
    """The value of a reply in JSON; any other reply as text."""
    try:
        return json.loads(reply)
    except ValueError:
        return reply


async def _connect(
    context: Context, options: MonitorOptions, address: str, protocol: Protocol
) -> Any:
    endpoint = _endpoint(context, address, options.timeout)
    connecting = endpoint.connect(Factory.forProtocol(lambda: protocol))
    return await connecting.addTimeout(options.timeout, context.reactor)


def _endpoint(context: Context, address: str, timeout: float) -> IStreamClientEndpoint:
    """The endpoint of ``HOST:PORT``, or of the path of a socket."""
    if "/" in address:
        return UNIXClientEndpoint(context.reactor, address, timeout)
    try:
        host, port = parse_address(address)
    except AddressError as error:
        raise ConfigurationError(str(error)) from None
    return HostnameEndpoint(context.reactor, host or "127.0.0.1", port, timeout)


def _reason(error: Exception) -> str:
    return "no reply in time" if isinstance(error, TimeoutError) else str(error).rstrip(".")


class _LineExchange(Protocol):
    """Sends a line; the reply is all that comes until the connection closes."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._received: list[bytes] = []
        self.reply: Deferred[str] = Deferred(self._close)

    def _close(self, _: object) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._line.encode() + b"\n")

    @override
    def dataReceived(self, data: bytes) -> None:
        self._received.append(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.reply.called:
            self.reply.callback(b"".join(self._received).decode("utf-8", "replace").strip())
