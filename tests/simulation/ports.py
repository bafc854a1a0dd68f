"""How connections begin: attempts to connect, and ports that accept."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.base import BaseConnector
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ConnectionAborted, ConnectionRefusedError
from twisted.internet.interfaces import IListeningPort, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.simulation.network import Connection, End, Process


class _Attempt:
    """The transport of a connector that is not connected yet."""

    def __init__(self, machine: Process, connector: Connector) -> None:
        self._machine, self._connector = machine, connector
        self._over = False
        network = machine.network
        host, port = connector.where
        if host not in network.silent:
            seconds = network.latency(machine.address, host)
            network.kernel.after(seconds, self._syn, host, port)

    def _syn(self, host: str, port: int) -> None:
        """The request to connect has arrived."""
        network = self._machine.network
        if host in network.silent or self._over:
            return
        back = network.latency(machine_address := self._machine.address, host)
        listening = network.ports.get((host, port))
        if listening is None or host in network.refused:
            network.kernel.after(back, self._refused)
            return
        here = IPv4Address("TCP", machine_address, 30_000 + next(network.numbers))
        there = IPv4Address("TCP", host, port)
        client, server = End(self._machine, here, there), End(listening.machine, there, here)
        client.connection = server.connection = Connection(network, client, server)
        client.other, server.other = server, client
        listening.backlog.append(server)
        listening.machine.wake()
        network.kernel.after(back, self._accepted, client)

    def _refused(self) -> None:
        self._machine.from_kernel(self.failIfNotConnected, ConnectionRefusedError())

    def _accepted(self, client: End) -> None:
        self._machine.from_kernel(self._connected, client)

    def _connected(self, client: End) -> None:
        if self._over:
            client.disconnected = True
            client._send_close(reset=True)
            client.connection.gone()
            return
        self._over = True
        connector = self._connector
        protocol = connector.buildProtocol(client.there)
        transport: Any = client
        connector.transport = transport
        client.connector = connector
        self._machine.ends[client] = None
        if protocol is None:
            client.protocol = _Nothing()
            client.loseConnection()
            return
        client.protocol = protocol
        protocol.makeConnection(client)

    def failIfNotConnected(self, error: Exception) -> None:  # noqa: N802 - BaseConnector calls it
        """Give up."""
        if not self._over:
            self._over = True
            self._connector.connectionFailed(Failure(error))

    def loseConnection(self) -> None:  # noqa: N802
        """Give up."""
        self.failIfNotConnected(ConnectionAborted())


class _Nothing:
    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """Of no interest."""


class Connector(BaseConnector):
    """One call of ``connectTCP``; Twisted's own states and time-out."""

    def __init__(
        self, machine: Process, where: tuple[str, int], factory: Any, timeout: Any
    ) -> None:
        self.where = where
        self._machine = machine
        reactor: Any = machine
        super().__init__(factory, timeout, reactor)

    def _makeTransport(self) -> Any:  # noqa: N802
        return _Attempt(self._machine, self)

    def getDestination(self) -> IPv4Address:  # noqa: N802
        """Where it goes."""
        return IPv4Address("TCP", *self.where)


@implementer(IListeningPort, IReadDescriptor)
class ListeningPort:
    """An open port, with the connections that wait to be accepted."""

    def __init__(self, machine: Process, address: tuple[str, int], factory: Any) -> None:
        self.machine, self.address, self.factory = machine, address, factory
        self.backlog: list[End] = []
        self.connected = False
        self.reading = True
        self.numberAccepts = 1

    def startListening(self) -> None:  # noqa: N802
        """Open it."""
        ports = self.machine.network.ports
        if self.address in ports:
            raise CannotListenError(*self.address, OSError(98, "Address already in use"))
        self.connected = True
        ports[self.address] = self
        self.machine.open_ports.append(self)
        self.factory.doStart()

    def doRead(self) -> None:  # noqa: N802
        """Accept what waits."""
        for _ in range(min(len(self.backlog), self.numberAccepts)):
            end = self.backlog.pop(0)
            protocol = self.factory.buildProtocol(end.there)
            if protocol is None:
                end.protocol = _Nothing()
                end.loseConnection()
                continue
            end.protocol = protocol
            self.machine.ends[end] = None
            protocol.makeConnection(end)

    def stopListening(self) -> Any:  # noqa: N802
        """Close it in the next turn, as Twisted does."""
        done: Deferred[None] = Deferred()

        def close() -> None:
            self.close()
            self.factory.doStop()
            done.callback(None)

        if not self.connected:
            return None
        self.machine.callLater(0, close)
        return done

    def close(self) -> None:
        """Close it; what waits is reset."""
        if self.connected:
            self.connected = False
            del self.machine.network.ports[self.address]
            self.machine.open_ports.remove(self)
            for end in self.backlog:
                end.disconnected = True
                end._send_close(reset=True)
                end.connection.gone()
            self.backlog.clear()

    def getHost(self) -> IPv4Address:  # noqa: N802
        """Where it is open."""
        return IPv4Address("TCP", *self.address)

    def stopReading(self) -> None:  # noqa: N802
        """Accept nothing."""
        self.reading = False

    def startReading(self) -> None:  # noqa: N802
        """Accept."""
        self.reading = True
        self.machine.wake()

    def fileno(self) -> int:
        """There is no descriptor."""
        return -1

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """As a descriptor has it."""

    def logPrefix(self) -> str:  # noqa: N802
        """Its name in a log."""
        return "port"
