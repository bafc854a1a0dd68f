"""All uses of undocumented parts of the dependencies.

Each use is one function, whose docstring says what it relies on, and with which version that was
checked.  ``tests/test_privates.py`` has a test for each, which fails if a new version differs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from fcntl import F_GETFL, F_SETFL, fcntl
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import (
    IListeningPort,
    IReadDescriptor,
    ISSLTransport,
    IStreamServerEndpointStringParser,
)
from twisted.internet.tcp import Port, _reservedFD
from twisted.logger import FileLogObserver, LogPublisher
from twisted.plugin import getPlugins
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper, HAProxyWrappingFactory
from twisted.python.logfile import BaseLogFile
from twisted.python.systemd import ListenFDs
from twisted.scripts._twistd_unix import UnixAppLogger
from typing_extensions import override

__all__ = [
    "accept_pending",
    "append_to_log_files",
    "close_socket_only",
    "close_without_shutdown",
    "file_observers",
    "immediate_write",
    "log_files",
    "reads_proxy_header",
    "refuse_invalid_proxy_headers",
    "reserve_descriptor",
    "set_systemd_socket_names",
    "systemd_socket_names",
]

#: More connections than any kernel's queue holds (net.core.somaxconn).
_BACKLOG: Final = 65536


def immediate_write(transport: Any) -> Callable[[bytes], int | BaseException] | None:
    """The function with which a transport sends bytes at once, past its own buffer.

    It returns how many bytes the kernel took, or the exception of a lost connection.  It may
    be called only while nothing is in the transport's buffer; the rest of the bytes must be
    given to ``write``.  None for transports that have no such function.

    Relies on ``FileDescriptor.writeSomeData`` (checked with Twisted 26.10), which subclasses
    implement and only ``doWrite`` calls.  A TLS transport may have the class of a socket's
    transport, but it has to encrypt the bytes first, so it counts as having no such function.
    """
    if not isinstance(transport, FileDescriptor) or ISSLTransport.providedBy(transport):
        return None
    write: Callable[[bytes], int | BaseException] = transport.writeSomeData
    return write


def file_observers(publisher: LogPublisher) -> Iterator[FileLogObserver]:
    """The observers of a publisher that write text to a file, as twistd's log does.

    Relies on ``LogPublisher._observers`` (checked with Twisted 26.10): twistd adds its observer
    to the global publisher and offers no access to it.
    """
    for observer in publisher._observers:
        if isinstance(observer, FileLogObserver):
            yield observer


def replace_twistd_logger(options: Any, make: Callable[[Any], Callable[[], Any] | None]) -> None:
    """Have twistd log with an observer that a function makes.

    twistd's ``--logger`` is the name of an object.  twistd looks it up after it has parsed its
    own command line and the service's, so this function replaces the option after that.

    Relies on ``Options.parseOptions``, which calls ``self.postOptions``, and on
    ``AppLogger.__init__``, which takes ``options["logger"]`` (checked with Twisted 26.10).

    Args:
        options: of twistd, which it is parsing.
        make: called with the object that ``--logger`` names, or None.  It returns a function
            that makes the observer, or None to have twistd make its own.
    """
    post_options = options.postOptions

    def post_options_and_replace() -> None:
        post_options()
        options["logger"] = make(options["logger"])

    options.postOptions = post_options_and_replace


def twistd_observer(options: Any) -> Any:
    """The observer that twistd would log with: to a file, standard output or syslog.

    Relies on ``UnixAppLogger._getLogObserver`` (checked with Twisted 26.10): twistd offers no
    other access to the observer that it makes by itself.
    """
    return UnixAppLogger(options)._getLogObserver()


def log_files(publisher: LogPublisher) -> Iterator[BaseLogFile]:
    """The log files of a publisher, which can be opened again.

    Relies on ``LogPublisher._observers`` and ``FileLogObserver._outFile`` (checked with Twisted
    26.10); see `file_observers`.
    """
    for observer in file_observers(publisher):
        file: Any = observer._outFile
        if isinstance(file, BaseLogFile):
            yield file


def append_to_log_files(publisher: LogPublisher) -> None:
    """Open log files in append mode (O_APPEND), so that two processes can write to the same one.

    Twisted opens them without it: each process writes at its own position, and would overwrite
    the other's lines.

    Relies on ``BaseLogFile._file`` (checked with Twisted 26.10); see `log_files`.
    """
    for file in log_files(publisher):
        descriptor = file._file.fileno()
        fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | os.O_APPEND)


def reserve_descriptor() -> None:
    """Keep a file descriptor in reserve, so that a port survives EMFILE when it accepts.

    Relies on ``twisted.internet.tcp._reservedFD`` (checked with Twisted 26.10), which
    ``Port.startListening`` calls; a port with a ``startListening`` of its own has to do it, too.
    """
    _reservedFD.reserve()


def accept_pending(port: IListeningPort) -> None:
    """Accept all connections that wait in the kernel's queue of a port; none of a closed port.

    Relies on ``Port.numberAccepts`` and ``Port.connected`` (checked with Twisted 26.10):
    ``doRead`` accepts at most ``numberAccepts`` connections, a number that it adapts to the load.
    """
    socket_port: Any = port
    if IReadDescriptor.providedBy(port) and socket_port.connected:
        socket_port.numberAccepts = _BACKLOG
        socket_port.doRead()


def close_socket_only(port: Port, reason: Any) -> None:
    """Finish closing a Unix port, but leave its file.

    Relies on ``twisted.internet.unix.Port.connectionLost`` (checked with Twisted 26.10), which
    removes the file before it calls this method of its base class, and raises if it cannot.
    """
    Port.connectionLost(port, reason)


class _ProxyProtocol(HAProxyProtocolWrapper):
    """Closes the connection on an address or port that cannot be read, as on other bad headers."""

    @override
    def dataReceived(self, data: bytes) -> None:
        try:
            super().dataReceived(data)
        except ValueError:
            if self._proxyInfo is not None:  # raised by the wrapped protocol, after the header
                raise
            self.loseConnection()


def refuse_invalid_proxy_headers(factory: Any) -> None:
    """Have a factory of ``haproxy:`` close connections whose header has invalid text or ports.

    Twisted raises for an address that is not UTF-8 and for a port that is not a number, so each
    such client causes a traceback in the log.  Other factories are left as they are.

    Relies on ``HAProxyWrappingFactory.protocol`` and on ``HAProxyProtocolWrapper._proxyInfo``,
    which is None until the header has been read (checked with Twisted 26.10).
    """
    strict_protocol: Any = _ProxyProtocol
    while factory is not None:
        if isinstance(factory, HAProxyWrappingFactory):
            factory.protocol = strict_protocol
        factory = getattr(factory, "wrappedFactory", None)


def close_without_shutdown(port: IListeningPort) -> None:
    """Have a port only close its descriptor later, since other processes listen on the same socket.

    Relies on ``Port._shouldShutdown`` (checked with Twisted 26.10): a port that has opened its
    socket itself calls shutdown(2) when it closes, which ends the listening for every process.
    """
    private_port: Any = port
    private_port._shouldShutdown = False


def systemd_socket_names() -> list[str]:
    """The names of the sockets that systemd has passed, in their order.

    Relies on ``_SystemdParser._sddaemon`` and ``ListenFDs._names`` (checked with Twisted 26.10).
    """
    return [name for parser in _systemd_parsers() for name in parser._sddaemon._names]


def set_systemd_socket_names(names: Sequence[str]) -> None:
    """Make endpoint strings such as ``systemd:index=0`` parse without systemd's variables.

    After an upgrade, the new program gets systemd's sockets from the old one, and has to
    understand the same endpoint strings.  But systemd's variables are for the old process only.

    Relies on ``_SystemdParser._sddaemon`` (checked with Twisted 26.10), which the plugin reads when
    it parses such a string.
    """
    for parser in _systemd_parsers():
        parser._sddaemon = ListenFDs([-1] * len(names), tuple(names))


def _systemd_parsers() -> Iterator[Any]:
    for plugin in getPlugins(IStreamServerEndpointStringParser):
        if plugin.prefix == "systemd":
            yield plugin


def reads_proxy_header(transport: Any) -> bool:
    """Whether a transport, or a transport that it wraps, reads a PROXY header.

    Relies on ``HAProxyProtocolWrapper``, and on ``transport``, the wrapped transport of each
    wrapper (checked with Twisted 26.10).
    """
    while transport is not None:
        if isinstance(transport, HAProxyProtocolWrapper):
            return True
        transport = getattr(transport, "transport", None)
    return False
