"""What the package uses of its dependencies although they do not document it.

One function each, which says what it relies on and with which version that was checked;
``tests/test_privates.py`` has a test for each, so that a new version that differs is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IListeningPort, IReadDescriptor, ISSLTransport
from twisted.internet.tcp import Port, _reservedFD
from twisted.logger import FileLogObserver, LogPublisher
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper, HAProxyWrappingFactory
from twisted.python.logfile import BaseLogFile
from typing_extensions import override

__all__ = [
    "accept_pending",
    "close_socket_only",
    "file_observers",
    "immediate_write",
    "log_files",
    "refuse_invalid_proxy_headers",
    "reserve_descriptor",
]

#: More connections than any kernel's queue holds (net.core.somaxconn).
_BACKLOG: Final = 65536


def immediate_write(transport: Any) -> Callable[[bytes], int | BaseException] | None:
    """The function with which a transport sends bytes at once, past its own buffer.

    It returns how many bytes the kernel took, or the exception of a lost connection.  It may
    be called only while nothing is in the transport's buffer; the rest of the bytes must be
    given to ``write``.  None for transports that have no such function.

    Relies on ``FileDescriptor.writeSomeData`` (checked with Twisted 26.10), which subclasses
    implement and only ``doWrite`` calls.  A TLS transport may look like the socket's one
    below it, but has to encrypt the bytes first, so it is left alone.
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


def log_files(publisher: LogPublisher) -> Iterator[BaseLogFile]:
    """The log files of a publisher, which can be opened again.

    Relies on ``LogPublisher._observers`` and ``FileLogObserver._outFile`` (checked with Twisted
    26.10); see `file_observers`.
    """
    for observer in file_observers(publisher):
        file: Any = observer._outFile
        if isinstance(file, BaseLogFile):
            yield file


def reserve_descriptor() -> None:
    """Keep a file descriptor in reserve, with which a port survives EMFILE when it accepts.

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
            if self._proxyInfo is not None:  # it comes from the protocol behind the header
                raise
            self.loseConnection()


def refuse_invalid_proxy_headers(factory: Any) -> None:
    """Have a factory of ``haproxy:`` close connections whose header has invalid text or ports.

    Twisted raises for an address that is not UTF-8 and for a port that is no number, so each such
    client gets a traceback into the log.  A factory that reads no PROXY header is left as it is.

    Relies on ``HAProxyWrappingFactory.protocol`` and on ``HAProxyProtocolWrapper._proxyInfo``,
    which is None until the header has been read (checked with Twisted 26.10).
    """
    strict: Any = _ProxyProtocol
    while factory is not None:
        if isinstance(factory, HAProxyWrappingFactory):
            factory.protocol = strict
        factory = getattr(factory, "wrappedFactory", None)
