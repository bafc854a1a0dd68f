"""What a client of the service sees: how many of its requests are answered, and for how
long the service has no address.

`Observer` follows the addresses in ZooKeeper as a client would, with kazoo.  `Load` sends
requests to them from threads, and counts.  `Proxy` is a network between two programs that
can be cut.
"""

from __future__ import annotations

import contextlib
import http.client
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from itertools import cycle
from typing import Final

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from typing_extensions import Self

from tests.functional.processes import quiet_kazoo

#: Seconds after which a client gives a request up.
_PATIENCE: Final = 60.0
#: Seconds after which the observer gives a connection to ZooKeeper up.
_ANSWER: Final = 3.0
#: Seconds between a client's requests: the machine is to be busy, not choked.
_PAUSE: Final = 0.004
#: Seconds that a client waits when its connection was refused.
_REFUSED: Final = 0.1
#: Seconds after which any load ends by itself.
_LONGEST: Final = 600.0


# -- what is registered ------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What was registered from some moment on."""

    when: float  # time.monotonic()
    addresses: tuple[str, ...]


class Observer:
    """Sees the children of a znode through a watch; goes on seeing the last ones known
    while ZooKeeper is away, as clients do.

    After a lost connection it is a client that comes anew: so what has happened to the
    data, or to its session, cannot lock it out.
    """

    def __init__(self, hosts: str, path: str) -> None:
        self._hosts, self._path = hosts, path
        self.history: list[Seen] = [Seen(time.monotonic(), ())]
        self._changed = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over = True
        self._changed.set()
        self._thread.join(_PATIENCE)

    @property
    def addresses(self) -> tuple[str, ...]:
        """What is registered, as far as is known."""
        return self.history[-1].addresses

    def without(self, since: float, until: float | None = None) -> float:
        """Seconds without any address between two moments (`time.monotonic`)."""
        end = time.monotonic() if until is None else until
        history = list(self.history)
        moments = [*(seen.when for seen in history[1:]), end]
        return sum(
            max(0.0, min(next_one, end) - max(seen.when, since))
            for seen, next_one in zip(history, moments, strict=True)
            if not seen.addresses
        )

    def _run(self) -> None:
        while not self._over:
            client = quiet_kazoo(self._hosts)
            client.add_listener(self._heard)
            try:
                client.start(timeout=_ANSWER)
                self._watch(client)
            except (KazooException, KazooTimeoutError):
                pass  # gone; a new client will be tried
            finally:
                client.stop()
                client.close()

    def _watch(self, client: KazooClient) -> None:
        while not self._over:
            self._changed.clear()
            # With a bound: kazoo keeps requests for as long as it is not connected, and a
            # server that is behind what it has seen never lets it in again.
            try:
                children = client.get_children_async(self._path, watch=self._heard)
                found = tuple(sorted(children.get(timeout=_ANSWER)))
            except NoNodeError:
                found = ()
                if client.exists_async(self._path, watch=self._heard).get(timeout=_ANSWER):
                    continue
            if found != self.addresses:
                self.history.append(Seen(time.monotonic(), found))
            # The bound is for a lost connection that no watch told of.
            self._changed.wait(0.5)

    def _heard(self, event: object) -> None:
        self._changed.set()


# -- requests ------------------------------------------------------------------------------


@dataclass
class Counts:
    """What became of requests."""

    answered: Counter[int] = field(default_factory=Counter)  # by status
    lost: list[str] = field(default_factory=list)  # sent, and not answered: why
    refused: int = 0  # connections that were not accepted: nothing was sent
    slowest: float = 0.0  # seconds until the answer

    @property
    def sent(self) -> int:
        """All requests."""
        return sum(self.answered.values()) + len(self.lost)

    @property
    def failed(self) -> int:
        """Requests that got no answer, and connections that were refused."""
        return len(self.lost) + self.refused

    @property
    def errors(self) -> int:
        """Requests that were answered with a server's error."""
        return sum(count for status, count in self.answered.items() if status >= 500)

    def add(self, other: Counts) -> None:
        """Count what another client has seen."""
        self.answered += Counter(dict(other.answered))  # a copy: it may change meanwhile
        self.lost += other.lost
        self.refused += other.refused
        self.slowest = max(self.slowest, other.slowest)


class _Habit(Enum):
    """What a client does with a connection."""

    ATTENTIVE = "keep it for as long as its address is registered"
    LOYAL = "keep it until the server says that it closes it, as proxies do"
    FICKLE = "use it for one request"


class Load:
    """Threads that each send one request after the other, and wait for each answer.

    A client connects to an address that is registered.  There are three kinds of clients,
    by turns: see `_Habit`.

    Args:
        addresses: what to connect to at this moment; nothing: wait.
        path: what to ask for.
        clients: how many threads.
    """

    def __init__(
        self, addresses: Callable[[], tuple[str, ...]], path: str = "/", *, clients: int = 6
    ) -> None:
        self._addresses, self._path = addresses, path
        self._seen = [Counts() for _ in range(clients)]
        self._over = False
        self._until = time.monotonic() + _LONGEST
        self._threads = [
            threading.Thread(target=self._client, args=(counts, habit), daemon=True)
            for habit, counts in zip(cycle(_Habit), self._seen, strict=False)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over = True
        for thread in self._threads:
            thread.join(_PATIENCE + 1.0)

    @property
    def counts(self) -> Counts:
        """What was seen so far."""
        all_of_it = Counts()
        for counts in self._seen:
            all_of_it.add(counts)
        return all_of_it

    def _client(self, counts: Counts, habit: _Habit) -> None:
        connection: http.client.HTTPConnection | None = None
        turn = 0
        while not self._over and time.monotonic() < self._until:
            time.sleep(_PAUSE)
            known = self._addresses()
            if connection is not None and not _may_keep(connection, habit, known):
                connection.close()
                connection = None
            if connection is None and known:
                turn += 1
                connection = self._connect(known[turn % len(known)], counts)
            if connection is not None and not self._ask(connection, counts):
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _connect(self, address: str, counts: Counts) -> http.client.HTTPConnection | None:
        host, _, port = address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=_PATIENCE)
        try:
            connection.connect()
        except OSError:
            counts.refused += 1
            time.sleep(_REFUSED)
            return None
        return connection

    def _ask(self, connection: http.client.HTTPConnection, counts: Counts) -> bool:
        """Send a request and read the answer; answers whether the connection is still good."""
        began = time.monotonic()
        try:
            connection.request("GET", self._path)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            counts.lost.append(f"{type(error).__name__} after {time.monotonic() - began:.3f} s")
            return False
        counts.answered[answer.status] += 1
        counts.slowest = max(counts.slowest, time.monotonic() - began)
        return connection.sock is not None  # http.client has closed it if the server said so


def _may_keep(
    connection: http.client.HTTPConnection, habit: _Habit, known: tuple[str, ...]
) -> bool:
    if habit is _Habit.ATTENTIVE:
        return f"{connection.host}:{connection.port}" in known
    return habit is _Habit.LOYAL


# -- a network -----------------------------------------------------------------------------


class Proxy:
    """Forwards connections to a port of the loopback interface, until it is cut.

    After a cut it forwards nothing and accepts no connection, but leaves all of them open,
    like a network partition: no end gets an error.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._peers: dict[socket.socket, socket.socket] = {}
        self._wake, self._woken = socket.socketpair()
        self._cut = self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def connection_string(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._listening.getsockname()[1]}"

    def cut(self) -> None:
        """Pass nothing on from now on."""
        self._say(cut=True)

    def heal(self) -> None:
        """Reset what was open when the network was cut, and work again."""
        self._say(cut=False)

    def close(self) -> None:
        """End."""
        self._over = True
        self._wake.send(b".")
        self._thread.join(_PATIENCE)

    def _say(self, *, cut: bool) -> None:
        self._cut = cut
        self._wake.send(b".")

    def _run(self) -> None:
        while not self._over:
            with selectors.DefaultSelector() as ready:
                ready.register(self._woken, selectors.EVENT_READ)
                if not self._cut:
                    for each in (self._listening, *self._peers):
                        ready.register(each, selectors.EVENT_READ)
                self._pass_on([key.fileobj for key, _ in ready.select(1.0)])
        for each in (*self._peers, self._listening, self._wake, self._woken):
            each.close()

    def _pass_on(self, ready: list[object]) -> None:
        for one in ready:
            if one is self._woken:
                self._woken.recv(100)
                if not self._cut:
                    for each in list(self._peers):
                        self._hang_up(each)
                return
            if one is self._listening:
                self._accept()
            elif isinstance(one, socket.socket) and one in self._peers:
                self._move(one)

    def _accept(self) -> None:
        client, _ = self._listening.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self._to), 15.0)
        except OSError:
            client.close()
            return
        self._peers[client], self._peers[server] = server, client

    def _move(self, one: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = one.recv(65536)
            if data:
                self._peers[one].sendall(data)
        if not data:
            self._hang_up(one)

    def _hang_up(self, one: socket.socket) -> None:
        other = self._peers.pop(one, None)
        if other is not None:
            self._peers.pop(other, None)
            other.close()
            one.close()
