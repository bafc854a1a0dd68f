"""The client: every operation as a Deferred."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from random import Random, SystemRandom
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from typing_extensions import Self

from zkservice.client.calls import BODY, Call, OptionalCall, nothing
from zkservice.client.counters import Statistics
from zkservice.client.creation import Data, as_bytes, create_request
from zkservice.client.handshake import TLSCreator
from zkservice.client.link import Link
from zkservice.client.listeners import Subscription
from zkservice.client.operations import (
    read_acl,
    read_children,
    read_children_and_stat,
    read_data,
    read_stat,
)
from zkservice.client.sasl import DigestMD5
from zkservice.client.settings import Settings
from zkservice.client.transaction import Transaction
from zkservice.client.watching import WatchingCall
from zkservice.errors import (
    ConnectTimeoutError,
    ForkedError,
    NodeExistsError,
    OperationTimeoutError,
    ZooKeeperError,
)
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE
from zkservice.wire.frames import JUTE_MAXBUFFER
from zkservice.wire.hosts import Address, parse_hosts
from zkservice.wire.jute import decode, encode
from zkservice.wire.paths import Chroot, validate
from zkservice.wire.records import (
    Create2Response,
    CreateRequest,
    DeleteRequest,
    ExistsRequest,
    GetACLRequest,
    GetChildren2Request,
    GetChildrenRequest,
    GetDataRequest,
    PathResponse,
    SetACLRequest,
    SetDataRequest,
    Stat,
    SyncRequest,
)
from zkservice.wire.session import State
from zkservice.wire.watches import WatchEvent, WatchKind

#: Bytes of one reply; more than a server's request limit, since a list of children has none.
MAX_REPLY: Final = 4 * 1024 * 1024


class ZooKeeperClient:
    """A session with a ZooKeeper ensemble.

    All calls may be made from any callback, before the connection is there as well as
    after: they wait for it.  Each answers a Deferred that can be cancelled, which stops the
    waiting; the request itself, once sent, cannot be called back.  What all of them can
    fail with:

    - `ConnectionLossError`: the connection broke; ``maybe_applied`` says whether the server
      may have carried the request out.
    - `SessionExpiredError`: the session is over; a new one begins by itself.
    - `OperationTimeoutError`: no answer within the call's ``timeout`` (seconds).
    - `ClientClosedError`: `connect` was not called, or `close` was.
    - `ForkedError`: the client is another process's.
    - `NoAuthError`, `InvalidPathError`, and whatever an operation names.
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
        random: Random | None = None,
    ) -> None:
        """Make a client; it connects when told to.

        Args:
            hosts: ``host:port,host:port/chroot``.
            session_timeout: seconds without a sign of life after which the server ends the
                session; it may grant another, see `session_timeout`.
            reactor: the installed one if None.
            tls: makes the TLS side of a connection, given the server's name.
            auth: pairs of scheme and credential, presented on each connection.
            sasl: a user of a server with a JAAS file.
            read_only: be content with a server that has lost its quorum.
            new_session: after an expiry begin a new session.
            local_expiry: after 4/3 of the session's time-out without a server take the
                session for expired, though none has said so.
            connect_timeout: seconds for one server to let us in; if None, so that all can
                be tried within a session's time-out.
            client_id: session id and password of a session to go on with.
            max_request: bytes; a request over it is not sent.  It is the servers'
                ``jute.maxbuffer``.
            max_reply: bytes of the largest reply that is read.
            random: shuffles the servers, and the waits between attempts.

        Raises:
            InvalidHostsError: ``hosts`` names no server.
        """
        if reactor is None:
            from twisted.internet import reactor  # noqa: TID251
        ensemble = parse_hosts(hosts)
        self._reactor = reactor
        self._chroot = Chroot(ensemble.chroot)
        self._resumed = client_id or (0, b"")
        settings = Settings(
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
        )
        self._link = Link(reactor, settings, random or SystemRandom())
        self._pid = os.getpid()
        for scheme, credential in auth:
            self._link.add_identity(scheme, _credential(credential))

    def __repr__(self) -> str:
        session = self._link.session
        return f"<ZooKeeperClient {session.state.name} session {session.id & 2**64 - 1:#x}>"

    # -- the session ------------------------------------------------------------------

    @property
    def state(self) -> State:
        """What the session is now; `State.CLOSED` before `connect`."""
        return self._link.session.state

    @property
    def client_id(self) -> tuple[int, bytes] | None:
        """Session id and password, a secret that lets another client take the session over."""
        session = self._link.session
        return (session.id, session.password) if session.id else None

    @property
    def session_timeout(self) -> float:
        """Seconds, as the server has granted them; as asked for until one has."""
        session = self._link.session
        return session.timeout or session.requested_timeout

    @property
    def server(self) -> Address | None:
        """The server that we are connected to."""
        return self._link.server

    def statistics(self) -> Statistics:
        """Counts and gauges of this moment."""
        return self._link.statistics()

    def subscribe(self, callback: Callable[[State], object]) -> Subscription:
        """Call this with each new state, once for each change.

        It may do whatever it likes, `close` included; an exception in it is logged.

        Returns:
            A handle; its ``cancel()`` ends it.
        """
        return self._link.subscribe(callback)

    def connect(self, timeout: float | None = None) -> Deferred[Self]:
        """Connect, and stay connected until `close`.

        Args:
            timeout: seconds to wait for a first connection; then the client is closed
                again.  Without one it keeps trying for ever.

        Returns:
            Fires with the client when it is connected.  Cancelling it stops the waiting,
            not the trying: `close` does that.

        Fails with:
            ConnectTimeoutError: no server let us in within the time-out.
            AuthFailedError: a server refuses our credentials.
            SessionExpiredError: there is to be no new session after the one that expired.
            ClientClosedError: closed before it was connected.
        """
        if self.state is State.CLOSED:
            self._pid = os.getpid()
        elif os.getpid() != self._pid:
            return fail(ForkedError())
        (id, password), self._resumed = self._resumed, (0, b"")
        connected = self._link.start(id, password)
        if timeout is not None:
            connected.addTimeout(timeout, self._reactor, onTimeoutCancel=self._too_late)
        return connected.addCallback(lambda _: self)

    def _too_late(self, _: object, timeout: float) -> Deferred[None]:
        error = ConnectTimeoutError(
            None, f"no ZooKeeper server let us in within {timeout:g} s: {self._link.failure}"
        )
        return self._link.stop().addCallback(lambda _: fail(error))

    def close(self) -> Deferred[None]:
        """End the session, and with it its ephemeral nodes.

        Calls that were made before are sent and answered, if the server does so in time;
        all others fail with `ClientClosedError`, and so do watches.  Twice is fine.

        Returns:
            Fires within about two seconds, whatever the server does.
        """
        if os.getpid() != self._pid and self.state is not State.CLOSED:
            return fail(ForkedError())
        return self._link.stop()

    def add_auth(
        self, scheme: str, credential: bytes | str, *, timeout: float | None = None
    ) -> Deferred[None]:
        """Be somebody more, on this connection and on each that follows.

        Args:
            scheme: ``digest``, or what else the servers are configured for.
            credential: for ``digest`` it is ``user:password``.
            timeout: seconds to wait for the answer.

        Fails with:
            AuthFailedError: the server refuses it; it closes the connection, and the client
                does not connect again.
        """
        refusal = self._link.refusal(None)
        if refusal is not None:
            return fail(refusal)
        waiter = self._link.add_identity(scheme, _credential(credential)).wait()
        if timeout is not None:
            waiter.addTimeout(timeout, self._reactor, onTimeoutCancel=_no_answer)
        return waiter

    # -- writing ----------------------------------------------------------------------

    def create(
        self,
        path: str,
        data: Data = b"",
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        *,
        ephemeral: bool = False,
        sequence: bool = False,
        container: bool = False,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> Deferred[str]:
        """Create a node.

        Args:
            path: absolute; with ``sequence`` it may end with a slash.
            data: bytes; None is a node without data.
            acl: who may do what.
            ephemeral: it goes when the session ends.
            sequence: the server appends a number of ten digits.
            container: it goes some time after its last child went (servers from 3.5 on).
            ttl: seconds; it goes when it has no children and was not set for so long
                (servers from 3.5 on that are configured for it).
            timeout: seconds to wait for the answer.

        Returns:
            Fires with the actual path.

        Fails with:
            NodeExistsError: the node is there already.
            NoNodeError: its parent is not.
            NoChildrenForEphemeralsError: its parent is ephemeral.
            InvalidACLError: the ACL is none.
            BadArgumentsError: there is no such kind of node.
            UnimplementedError: the server does not offer this kind.
        """
        try:
            record = create_request(
                self._chroot,
                path,
                data,
                acl,
                ephemeral=ephemeral,
                sequence=sequence,
                container=container,
                ttl=ttl,
            )
        except ZooKeeperError:
            return fail()
        plain = type(record) is CreateRequest
        read = self._read_path if plain else self._read_path_before_stat
        return self._submit(Call(record.opcode, path, encode(record), read), timeout)

    def ensure_path(
        self,
        path: str,
        acl: Iterable[ACL] = OPEN_ACL_UNSAFE,
        *,
        timeout: float | None = None,
    ) -> Deferred[None]:
        """Create a node and all its ancestors, chroot included, as far as they are missing.

        Args:
            path: absolute.
            acl: for those that are created.
            timeout: seconds for each of the two round trips.

        Fails with:
            NoAuthError: a parent may not be given children.
        """
        return Deferred.fromCoroutine(self._ensure_path(path, list(acl), timeout))

    async def _ensure_path(self, path: str, acl: list[ACL], timeout: float | None) -> None:
        if await self.exists(path, timeout=timeout) is not None:
            return
        # Pipelined.  What counts is the last one: of its ancestors some may be there
        # although we may not create them.
        results = [
            self._submit(_creation(where, path, acl), timeout)
            for where in _lineage(self._chroot.add(path))
        ]
        first: Exception | None = None
        for result in results:
            try:
                last = None
                await result
            except NodeExistsError:
                pass
            except ZooKeeperError as error:
                last = error
                first = first or error
        if last is not None and first is not None:
            raise first

    def delete(
        self, path: str, version: int = -1, *, timeout: float | None = None
    ) -> Deferred[None]:
        """Delete a node, if it has this version; -1 is any.

        Fails with:
            NoNodeError: it is not there.
            BadVersionError: it has another version.
            NotEmptyError: it has children.
        """
        return self._ask(DeleteRequest, path, (version,), nothing, timeout)

    def set(
        self, path: str, data: Data, version: int = -1, *, timeout: float | None = None
    ) -> Deferred[Stat]:
        """Set a node's data, if it has this version; -1 is any.  Fires with the new Stat.

        Fails with:
            NoNodeError: it is not there.
            BadVersionError: it has another version.
        """
        return self._ask(SetDataRequest, path, (as_bytes(data), version), read_stat, timeout)

    def set_acl(
        self,
        path: str,
        acl: Iterable[ACL],
        version: int = -1,
        *,
        timeout: float | None = None,
    ) -> Deferred[Stat]:
        """Set a node's ACL, if the ACL has this version (``aversion``); -1 is any.

        Fires with the new Stat.

        Fails with:
            NoNodeError: it is not there.
            BadVersionError: its ACL has another version.
            InvalidACLError: the ACL is none.
        """
        return self._ask(SetACLRequest, path, (list(acl), version), read_stat, timeout)

    def transaction(self) -> Transaction:
        """Begin a list of writes that happen together or not at all."""
        return Transaction(self._chroot, self._submit)

    # -- reading ----------------------------------------------------------------------

    def exists(self, path: str, *, timeout: float | None = None) -> Deferred[Stat | None]:
        """The node's Stat, or None if it is not there."""
        return self._ask(ExistsRequest, path, (False,), read_stat, timeout, OptionalCall)

    def get(self, path: str, *, timeout: float | None = None) -> Deferred[tuple[bytes, Stat]]:
        """The node's data (``b""`` if it has none) and Stat.

        Fails with:
            NoNodeError: it is not there.
        """
        return self._ask(GetDataRequest, path, (False,), read_data, timeout)

    def get_children(self, path: str, *, timeout: float | None = None) -> Deferred[list[str]]:
        """The names of the node's children, in no order.

        Fails with:
            NoNodeError: it is not there.
        """
        return self._ask(GetChildrenRequest, path, (False,), read_children, timeout)

    def get_children_and_stat(
        self, path: str, *, timeout: float | None = None
    ) -> Deferred[tuple[list[str], Stat]]:
        """The names of the node's children, in no order, and its own Stat.

        Fails with:
            NoNodeError: it is not there.
        """
        return self._ask(GetChildren2Request, path, (False,), read_children_and_stat, timeout)

    def get_acl(
        self, path: str, *, timeout: float | None = None
    ) -> Deferred[tuple[list[ACL], Stat]]:
        """The node's ACL and Stat.

        Fails with:
            NoNodeError: it is not there.
        """
        return self._ask(GetACLRequest, path, (), read_acl, timeout)

    def sync(self, path: str = "/", *, timeout: float | None = None) -> Deferred[str]:
        """Wait until our server has caught up with the leader; fires with the path."""
        return self._ask(SyncRequest, path, (), lambda _: path, timeout)

    # -- watching ---------------------------------------------------------------------

    def exists_and_watch(
        self, path: str, *, timeout: float | None = None
    ) -> tuple[Deferred[Stat | None], Deferred[WatchEvent]]:
        """As `exists`, and a Deferred that fires when it is created, set or deleted.

        The second Deferred of this and the next two fires once; after a reconnect the
        watch is set again, and fires if the change happened meanwhile.  It fails with
        `SessionExpiredError` or `ClientClosedError` when there will be no event any more;
        if the first one fails there is no watch, and it never fires.
        """
        return self._watch(
            ExistsRequest, path, read_stat, WatchKind.DATA, timeout, missing_is_answer=True
        )

    def get_and_watch(
        self, path: str, *, timeout: float | None = None
    ) -> tuple[Deferred[tuple[bytes, Stat]], Deferred[WatchEvent]]:
        """As `get`, and a Deferred that fires when the node is set or deleted."""
        return self._watch(GetDataRequest, path, read_data, WatchKind.DATA, timeout)

    def get_children_and_watch(
        self, path: str, *, timeout: float | None = None
    ) -> tuple[Deferred[list[str]], Deferred[WatchEvent]]:
        """As `get_children`, and a Deferred for the next child that comes or goes.

        It fires, too, when the node itself is deleted.
        """
        return self._watch(GetChildrenRequest, path, read_children, WatchKind.CHILD, timeout)

    # -- how --------------------------------------------------------------------------

    def _ask(
        self,
        record_type: type[Any],
        path: str,
        rest: tuple[Any, ...],
        read: Callable[[bytes], Any],
        timeout: float | None,
        call_type: type[Call] = Call,
    ) -> Deferred[Any]:
        """Send a request whose first field is the path."""
        try:
            record = record_type(self._chroot.add(validate(path)), *rest)
        except ZooKeeperError:
            return fail()
        return self._submit(call_type(record_type.opcode, path, encode(record), read), timeout)

    def _watch(
        self,
        record_type: type[Any],
        path: str,
        read: Callable[[bytes], Any],
        kind: WatchKind,
        timeout: float | None,
        *,
        missing_is_answer: bool = False,
    ) -> tuple[Deferred[Any], Deferred[WatchEvent]]:
        watcher, register = self._link.watches.one_shot()
        try:
            record = record_type(self._chroot.add(validate(path)), True)
        except ZooKeeperError:
            return fail(), watcher.deferred
        call = WatchingCall(record, path, read, kind, register, missing_is_answer=missing_is_answer)
        return self._submit(call, timeout), watcher.deferred

    def _submit(self, call: Call, timeout: float | None) -> Deferred[Any]:
        deferred = call.deferred
        assert deferred is not None
        if os.getpid() != self._pid:
            call.fail(ForkedError(call.path))
            return deferred
        self._link.submit(call)
        if timeout is not None:

            def too_late(_: object, __: float) -> None:
                raise OperationTimeoutError(call.path, maybe_applied=call.xid != 0)

            deferred.addTimeout(timeout, self._reactor, onTimeoutCancel=too_late)
        return deferred

    def _read_path(self, reply: bytes) -> str:
        return self._chroot.strip(decode(PathResponse, reply, BODY).path or "")

    def _read_path_before_stat(self, reply: bytes) -> str:
        return self._chroot.strip(decode(Create2Response, reply, BODY).path)


def _credential(credential: bytes | str) -> bytes:
    return credential.encode() if isinstance(credential, str) else credential


def _no_answer(_: object, __: float) -> None:
    raise OperationTimeoutError


def _lineage(path: str) -> list[str]:
    """The paths of a node's ancestors and itself, from the top, without the root."""
    names = path.strip("/").split("/")
    return ["/" + "/".join(names[: count + 1]) for count in range(len(names))]


def _creation(where: str, path: str, acl: list[ACL]) -> Call:
    record = CreateRequest(where, b"", acl, 0)
    return Call(record.opcode, path, encode(record), nothing)
