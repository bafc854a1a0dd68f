"""The client: every operation as a Deferred."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from random import Random, SystemRandom
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from typing_extensions import Self, override

from zkservice.client.calls import Call
from zkservice.client.claims import Claims
from zkservice.client.counters import Statistics
from zkservice.client.handshake import TLSCreator
from zkservice.client.read_ops import ReadOperations
from zkservice.client.sasl import DigestMD5
from zkservice.client.session_manager import SessionManager
from zkservice.client.settings import ClientSettings
from zkservice.client.silence import boot_time
from zkservice.client.subscribers import Subscription
from zkservice.client.watch_ops import WatchOperations
from zkservice.client.write_ops import WriteOperations
from zkservice.deferreds import limit_in_seconds, time_limit
from zkservice.errors import (
    ConnectTimeoutError,
    ForkedError,
    OperationTimeoutError,
    UnwritableError,
)
from zkservice.wire.frames import JUTE_MAXBUFFER
from zkservice.wire.hosts import Address, parse_hosts
from zkservice.wire.paths import Chroot
from zkservice.wire.session import State

#: Bytes of one reply; more than a server's request limit, since a list of children has none.
MAX_REPLY: Final = 4 * 1024 * 1024


class ZooKeeperClient(ReadOperations, WriteOperations, WatchOperations):
    """A session with a ZooKeeper ensemble.

    Call `connect`, then the operations.  You can make calls before the client is connected; they
    are queued.  Each returns a Deferred.  Cancelling it stops the waiting, not a request that was
    sent.  Call all methods in the reactor's thread.  All calls can fail with:

    - `ConnectionLossError`: the connection broke; ``maybe_applied`` says whether the server
      may have carried the request out.
    - `SessionExpiredError`: the session is over; the client begins a new one.
    - `OperationTimeoutError`: no reply within the call's ``timeout`` (seconds).
    - `ClientClosedError`: `connect` was not called, or `close` was.
    - `ForkedError`: the client was made in another process, before a ``fork()``.
    - `NoAuthError`: the node's ACL does not allow the operation.
    - `InvalidPathError`: the path is invalid.
    - the errors that the operation's own documentation names.

    Args:
        hosts: the servers and the chroot, ``host:port,host:port/chroot``.
        session_timeout: seconds without a ping after which the server ends the session; the
            server may grant another time, see `session_timeout`.
        reactor: the installed one if None.
        tls: a `TLS`, or another function that makes the TLS side of a connection to a name.
        auth: pairs of scheme and credential, such as ``[("digest", "user:password")]``,
            presented on each connection.
        sasl: the user and password for servers with SASL.
        read_only: whether to connect to a server without a quorum as well, only for reads.
        new_session: whether to open a new session after an expiry.
        local_expiry: whether to consider the session expired after 4/3 of its time-out
            without a connection, although no server has reported it.
        connect_timeout: seconds for one server to accept the session; None: short enough to
            try all servers within a session's time-out.
        client_id: session id and password of an existing session to continue.
        max_request: bytes of the largest request that is sent; use the servers'
            ``jute.maxbuffer``.
        max_reply: bytes of the largest reply that is read.
        shuffle: try the servers, and the addresses behind a name, in random order, so
            that clients spread over them.  If False they are tried in the order of
            ``hosts``, and of the resolver.
        random: shuffles the servers, and spreads the waits between attempts.
        clock: returns the seconds for `silence`; the default also counts the time during
            which the process or the machine is suspended.

    Raises:
        InvalidHostsError: ``hosts`` names no server.
        ValueError: the session time-out is not positive, or over 24 days.
        TypeError: ``tls``, ``auth``, ``sasl`` or ``client_id`` is of another type.
        UnwritableError: in ``auth`` a scheme is not text or a credential not bytes.
    """

    def __init__(
        self,
        hosts: str,
        session_timeout: float = 10.0,
        *,
        reactor: Any = None,
        tls: TLSCreator | None = None,
        auth: Sequence[tuple[str, bytes | str]] = (),
        sasl: DigestMD5 | None = None,
        read_only: bool = False,
        new_session: bool = True,
        local_expiry: bool = True,
        connect_timeout: float | None = None,
        client_id: tuple[int, bytes] | None = None,
        max_request: int = JUTE_MAXBUFFER,
        max_reply: int = MAX_REPLY,
        shuffle: bool = True,
        random: Random | None = None,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor  # noqa: TID251
        if not _is_valid_timeout(session_timeout):
            raise ValueError(
                f"session_timeout must be a number of seconds, positive and below 24 days, "
                f"not {session_timeout!r}"
            )
        _check_security(tls, sasl)
        _check_client_id(client_id)
        credentials = _credential_pairs(auth)
        ensemble = parse_hosts(hosts)
        #: the claims on ephemeral znodes, so that no two registrations share one
        self.claims = Claims()
        self._servers = ", ".join(map(str, ensemble.addresses))
        self._reactor = reactor
        self._chroot = Chroot(ensemble.chroot)
        self._resume_id, self._resume_password = client_id or (0, b"")  # for the first session
        settings = ClientSettings(
            ensemble=ensemble,
            session_timeout=session_timeout,
            connect_timeout=connect_timeout,
            tls=tls,
            sasl=sasl,
            read_only=read_only,
            new_session=new_session,
            local_expiry=local_expiry,
            max_request=max_request,
            max_reply=max_reply,
            shuffle=shuffle,
            clock=clock,
        )
        self._manager = SessionManager(reactor, settings, random or SystemRandom())
        self._watches = self._manager.watches
        self._pid = os.getpid()
        for scheme, credential in credentials:
            self._manager.add_credential(scheme, _credential_bytes(credential))

    def __repr__(self) -> str:
        session = self._manager.session
        return f"<ZooKeeperClient {session.state.name} session {session.id & 2**64 - 1:#x}>"

    async def __aenter__(self) -> Self:
        """Call `connect`; the end of the block calls `close`."""
        try:
            return await self.connect()
        except BaseException:
            await self.close()
            raise

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- the session ------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state of the session; `State.CLOSED` before `connect`."""
        return self._manager.session.state

    @property
    def client_id(self) -> tuple[int, bytes] | None:
        """Session id and password, a secret that lets another client take the session over."""
        session = self._manager.session
        return (session.id, session.password) if session.id else None

    @property
    def session_timeout(self) -> float:
        """Seconds that the server has granted; until it has, the constructor's."""
        session = self._manager.session
        return session.timeout or session.requested_timeout

    @property
    def silence(self) -> float:
        """Seconds since the client sent the last request, or ping, that the server replied to.

        Infinity without a connection.  Unlike `state`, it is correct immediately after the process
        or the machine was suspended.  A lock that this session holds is safe while this is well
        below `session_timeout`.
        """
        return self._manager.silence

    @property
    def server(self) -> Address | None:
        """The server that the client is connected to, a tuple of ``host`` and ``port``."""
        return self._manager.server

    @property
    def last_zxid(self) -> int:
        """The last transaction that this session has seen, in a reply; 0 if none.

        Nodes with a higher ``czxid`` were created later.
        """
        return self._manager.last_zxid

    def statistics(self) -> Statistics:
        """Counts and gauges of this moment."""
        return self._manager.statistics()

    def subscribe(self, callback: Callable[[State], object]) -> Subscription:
        """Call a function with each new state, once for each change.

        The function may call any method, also `close`.  If it raises, the error is logged.

        Returns:
            A handle; its ``cancel()`` ends it.
        """
        return self._manager.subscribe(callback)

    def connect(self, timeout: float | None = None) -> Deferred[Self]:
        """Connect, and stay connected until `close`.

        While the client is connecting or connected, another call only waits.  After `close` it
        begins a new session.

        Args:
            timeout: seconds to wait for a first connection; then the client is closed
                again.  Without one it keeps trying for ever.

        Returns:
            Fires with the client when it is connected.  Cancelling it stops the waiting,
            not the trying: `close` does that.

        Fails with:
            ConnectTimeoutError: no server accepted the session within the time-out.
            AuthFailedError: a server refuses the credentials.
            SessionExpiredError: the session has expired, and ``new_session`` is False.
            ClientClosedError: closed before it was connected.
        """
        limit = None if timeout is None else limit_in_seconds(timeout)
        if self.state is State.CLOSED:
            self._pid = os.getpid()
        elif os.getpid() != self._pid:
            return fail(ForkedError())
        connected = self._manager.start(self._resume_id, self._resume_password)
        self._resume_id, self._resume_password = 0, b""
        if limit is not None:
            connected.addTimeout(limit, self._reactor, onTimeoutCancel=self._too_late)
        return connected.addCallback(lambda _: self)

    def _too_late(self, _: object, timeout: float) -> Deferred[None]:
        error = ConnectTimeoutError(
            None,
            f"no ZooKeeper server accepted the session within {timeout:g} s "
            f"({self._servers}): {self._manager.last_failure}",
        )
        return self._manager.stop().addCallback(lambda _: fail(error))

    def close(self) -> Deferred[None]:
        """End the session, and with it its ephemeral nodes.

        A process that ends without it leaves its ephemeral nodes, and so its locks and
        registrations, until the session times out.  Earlier calls are completed if the server
        replies in time.  All others, and all watches, fail with `ClientClosedError`.  It may be
        called several times.

        Returns:
            Fires within about two seconds, whatever the server does.
        """
        if os.getpid() != self._pid and self.state is not State.CLOSED:
            return fail(ForkedError())
        return self._manager.stop()

    def add_auth(
        self, scheme: str, credential: bytes | str, *, timeout: float | None = None
    ) -> Deferred[None]:
        """Add a credential to this connection and to each that follows.

        Args:
            scheme: ``digest``, or another scheme that the servers support.
            credential: for ``digest`` it is ``user:password``.
            timeout: seconds to wait for the reply.

        Fails with:
            AuthFailedError: the server refuses it; it closes the connection, and the client
                does not connect again.
        """
        refusal = self._manager.refusal(None)
        if refusal is not None:
            return fail(refusal)
        try:
            added = self._manager.add_credential(scheme, _credential_bytes(credential))
        except UnwritableError:
            return fail()

        def too_late(seconds: float) -> OperationTimeoutError:
            return OperationTimeoutError(None, f"no reply within {seconds:g} s")

        return time_limit(added.wait(), timeout, self._reactor, too_late)

    # -- internals ---------------------------------------------------------------------

    @override
    def _submit(self, call: Call, timeout: float | None) -> Deferred[Any]:
        deferred = call.deferred
        assert deferred is not None
        if os.getpid() != self._pid:
            call.fail(ForkedError(call.path))
            return deferred
        self._manager.submit(call)
        if timeout is not None:

            def too_late(seconds: float) -> OperationTimeoutError:
                detail = f"no reply within {seconds:g} s"
                return OperationTimeoutError(call.path, detail, maybe_applied=call.xid != 0)

            time_limit(deferred, timeout, self._reactor, too_late)
        return deferred


def _is_valid_timeout(seconds: object) -> bool:
    """Whether it is positive and, in milliseconds, fits into a ConnectRequest's 32 bits."""
    return isinstance(seconds, (int, float)) and 0 < seconds * 1000 < 2**31


def _check_security(tls: object, sasl: object) -> None:
    """Refuse arguments that would make every attempt to connect fail."""
    if tls is not None and not callable(tls):
        kind = type(tls).__name__
        raise TypeError(f"tls must be a TLS(...) or another callable, not {kind}")
    if sasl is not None and not isinstance(sasl, DigestMD5):
        raise TypeError(f"sasl must be DigestMD5(user, password), not {type(sasl).__name__}")


def _check_client_id(client_id: object) -> None:
    """Require a pair of session id and password; the error does not show the password."""
    if client_id is None:
        return
    if isinstance(client_id, (tuple, list)) and len(client_id) == 2:
        session, password = client_id
        if isinstance(session, int) and isinstance(password, bytes):
            return
    raise TypeError("client_id must be a session's id and its password, a pair of int and bytes")


def _credential_pairs(
    auth: Iterable[tuple[str, bytes | str]] | None,
) -> list[tuple[str, bytes | str]]:
    """Require a list of pairs: passing one pair without the list is an easy mistake.

    The error does not show what was passed, since it may be a secret.
    """
    pairs = list(auth or ())
    if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
        raise TypeError("auth must be a list of pairs, such as [('digest', 'user:password')]")
    return pairs


def _credential_bytes(credential: bytes | str) -> bytes:
    if credential is None:  # encodes as a null buffer, so it would reach the server
        raise UnwritableError("AuthPacket", "auth", "NoneType", "there is no credential")
    return credential.encode() if isinstance(credential, str) else credential
