"""Keep znodes registered for as long as they are wanted.

A `Registration` remembers only what is wanted.  Whatever happens (a new session, a
watch that fires, a change of what is wanted) leads to the same thing: look at the
znodes, judge them (`zkservice.registry.decision`), change what is not as it is wanted
in one transaction.  One such pass runs at a time; what happens meanwhile causes
another.  So a connection that is lost at any step does no harm: the next pass looks
again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from zkservice.client import Subscription, ZooKeeperClient
from zkservice.client.listeners import Listeners
from zkservice.errors import (
    AuthFailedError,
    BadVersionError,
    ClientClosedError,
    ConnectionLossError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
    TransactionFailedError,
    UnregisteredError,
    ZooKeeperError,
)
from zkservice.registry.contents import Contents
from zkservice.registry.decision import Found, Verdict, decide
from zkservice.registry.lookup import together
from zkservice.registry.place import Place
from zkservice.registry.states import (
    CREATE_GAP,
    CREATE_GAP_MAX,
    JITTER,
    RETRY,
    RETRY_MAX,
    Change,
    RegistrationState,
)
from zkservice.wire.acl import ACL, READ_ACL_UNSAFE, Permission
from zkservice.wire.paths import validate
from zkservice.wire.session import State
from zkservice.wire.watches import WatchEvent

# The znodes changed between our look and our transaction: look again.
_RACES: Final = (NodeExistsError, NoNodeError, BadVersionError)
_OVER: Final = (State.EXPIRED, State.AUTH_FAILED, State.CLOSED)
# There is nobody to talk to: the session's next state will tell.
_GONE: Final = (ConnectionLossError, SessionExpiredError, ClientClosedError)


class Registration:
    """One or more ephemeral znodes with the same data, registered together or not at all.

    Made by `register`.  All methods belong to the reactor's thread.
    """

    _log = Logger()

    def __init__(
        self,
        client: ZooKeeperClient,
        path: str,
        addresses: Sequence[str],
        properties: Mapping[str, Any],
        acl: Sequence[ACL] = READ_ACL_UNSAFE,
        *,
        format: str = "properties",
        tls: Collection[str] = (),
        real_parent: str | None = None,
        replace: bool = True,
        clock: IReactorTime,
        random: Callable[[], float],
    ) -> None:
        self.parent = validate(path)
        self.addresses = tuple(addresses)
        self.properties: dict[str, Any] = dict(properties)
        since = int(clock.seconds() * 1000)
        self._contents = Contents(
            validate(real_parent or path),
            self.addresses,
            self.properties,
            format=format,
            tls=frozenset(tls),
            since=since,
        )
        client.claims.take(self, self.paths)
        self.state = RegistrationState.WAITING
        self.reason = ""
        self._client = client
        self._clock = clock
        self._random = random
        self._acl = tuple(acl)
        # An ACL that lets nobody write, as the default one, does not let us either:
        # then a change is a new node in the same transaction.
        self._writable = any(one.perms & Permission.WRITE for one in self._acl)
        self._wanted, self._final = True, False
        self._why_out = ""
        self._place = Place(client, self.parent, self._poke)
        self._first = True  # not held yet in this process, where the path leads now
        self._replaces = self._replace = replace  # what others left, until we have held it
        self._write = False  # what we hold has old data
        self._sessions: set[int] = set()  # under which we may have created znodes
        self._in_doubt = False  # the last pass may have changed something
        self._working = False  # a pass is under way
        self._again = False  # something happened since it began
        self._timer: IDelayedCall | None = None
        self._failures = 0  # in a row
        self._gap, self._created = 0.0, 0.0  # of the last creation: see CREATE_GAP
        self._made_under = 0  # the session of the last creation, until we remove it again
        self._watches: dict[str, Deferred[WatchEvent]] = {}
        self._waiting: list[Deferred[Registration]] = []
        self._leaving: list[Deferred[bool]] = []
        self._listeners: Listeners[Change] = Listeners(self._log)
        self._subscription = client.subscribe(self._session_changed)
        self._poke()

    def __repr__(self) -> str:
        return f"<Registration {self.state.name} {', '.join(self.paths)}>"

    # -- what its owner says ---------------------------------------------------

    @property
    def paths(self) -> tuple[str, ...]:
        """The znodes, where the path leads at the moment."""
        return self._contents.paths

    @property
    def real_parent(self) -> str:
        """Where ``parent`` leads, through symbolic links; the same until that is known."""
        return self._contents.parent

    @property
    def path(self) -> str:
        """The znode; the first one if there are several."""
        return self.paths[0]

    @property
    def may_be_seen(self) -> bool:
        """Whether clients can have seen the znodes, and not yet heard that they are gone."""
        return self._made_under != 0 and self._made_under == self._session

    def when_registered(self) -> Deferred[Registration]:
        """Fires when all znodes are held and carry the latest properties.

        Fails with what ZooKeeper says if it refuses (`NoAuthError`, `InvalidACLError`,
        ...; the registration goes on trying), and with `UnregisteredError`.
        """
        done: Deferred[Registration] = Deferred(self._waiting_cancelled)
        if self._final:
            done.errback(UnregisteredError(self.path))
        elif self.state is RegistrationState.REGISTERED and not self._write:
            done.callback(self)
        else:
            self._waiting.append(done)
        return done

    def update(self, **properties: Any) -> Deferred[Registration]:
        """Change properties: the znodes are never gone meanwhile.

        They are set in place where the ACL allows writing, and replaced in one
        transaction where it does not.  Fires as `when_registered` does, once the change is stored.
        """
        whole = {**self.properties, **properties}
        try:
            self._contents.update(whole)
        except ValueError:
            return fail()
        self.properties = whole
        self._write = True
        self._poke()
        return self.when_registered()

    def take_out(self, reason: str) -> None:
        """Remove the znodes until `put_back`, without forgetting the registration."""
        if not self._final and (self._wanted or reason != self._why_out):
            self._wanted, self._why_out = False, reason
            self._poke()

    def put_back(self) -> None:
        """Want the znodes again after `take_out`."""
        if not self._final and not self._wanted:
            self._wanted = True
            self._poke()

    def unregister(self) -> Deferred[bool]:
        """Remove the znodes for good.

        Fires with True when they are gone, with False when the session ended first (and
        took them along, or will when the server notices).  It waits for a connection:
        give it a time-out.
        """
        done: Deferred[bool] = Deferred(self._leaving_cancelled)
        if self.state is RegistrationState.WITHDRAWN:
            done.callback(True)
            return done
        self._leaving.append(done)
        self._wanted, self._final = False, True
        self._fail_waiting(Failure(UnregisteredError(self.path)))
        if not self._sessions or self._client.state in _OVER:
            self._withdrawn(self._client.state is not State.AUTH_FAILED)
        else:
            self._poke()
        return done

    def subscribe(self, callback: Callable[[Change], object]) -> Subscription:
        """Hear each change of state once; ``cancel()`` of the answer ends it."""
        return self._listeners.add(callback)

    # -- what causes a pass ------------------------------------------------------

    def _session_changed(self, state: State) -> None:
        if state is State.CONNECTED:
            if self._first or not self._wanted or self._session in self._sessions:
                self._poke()
            else:
                self._poke_in(self._random() * JITTER)
        elif state in _OVER and self._final:
            self._withdrawn(False)
        elif state is State.AUTH_FAILED:
            self._refused(AuthFailedError(self.path))
        elif state is State.CLOSED:
            self._stop_timer()
            self._fail_waiting(Failure(ClientClosedError(self.path)))
            self._become(RegistrationState.WAITING)
        elif self.state is RegistrationState.REGISTERED and state in _OVER:
            self._become(RegistrationState.WAITING)

    def _changed(self, event: WatchEvent | Failure, path: str) -> None:
        """A znode was created, changed or deleted, or its watch is gone with the session."""
        self._watches.pop(path, None)
        self._poke()

    def _poke_in(self, seconds: float) -> None:
        """Make a pass then, or before; a session that is over makes none."""
        if self._client.state in _OVER:
            return
        due = self._clock.seconds() + seconds
        if self._timer is not None:
            if self._timer.getTime() <= due:
                return
            self._timer.cancel()
        self._timer = self._clock.callLater(seconds, self._timer_rang)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timer_rang(self) -> None:
        self._timer = None
        self._poke()

    def _poke(self) -> None:
        self._again = True
        if not self._working and self._client.state is State.CONNECTED:
            self._working = True
            Deferred.fromCoroutine(self._converge()).addErrback(self._bug)

    def _bug(self, failure: Failure) -> None:
        self._working = False
        self._failures += 1
        self._log.failure("the registration of {path} failed", failure, path=self.path)
        self._retry_later()

    # -- a pass --------------------------------------------------------------------

    @property
    def _session(self) -> int:
        identity = self._client.client_id
        return 0 if identity is None else identity[0]

    async def _converge(self) -> None:
        while self._again and self._has_work():
            self._again = False
            try:
                await self._pass()
            except _RACES as error:
                self._race_lost(error)
            except _GONE as error:
                self._gone(error)
            except ZooKeeperError as error:
                self._refused(error)
        self._working = False

    def _has_work(self) -> bool:
        return (
            self.state is not RegistrationState.WITHDRAWN and self._client.state is State.CONNECTED
        )

    async def _pass(self) -> None:
        """Look once, and change what is not as it is wanted."""
        session = self._session
        if self._in_doubt:  # a server that is behind may still show what we have deleted
            await self._client.sync(self.parent)
            self._in_doubt = False
        if self._wanted:
            real_parent = await self._place.find()
            if real_parent != self.real_parent and not self._move(real_parent):
                return
        found = await self._look()
        if session != self._session:  # what we know is of a session that is over
            self._again = True
            return
        if not self._wanted:
            await self._remove_left(session)
            await self._remove([one for one in found if one.owner in {session, *self._sessions}])
            return
        verdict = decide(
            found,
            session=session,
            earlier=self._sessions,
            replace=self._replace,
            partly=not self._first,
            write=self._write,
        )
        if verdict.changes:
            if self._too_soon(verdict, session):
                return
            if self.state is not RegistrationState.REGISTERED:
                self._become(RegistrationState.WORKING)
            await self._apply(verdict, session)
        await self._remove_left(session)
        if verdict.conflict is not None:
            self._contested(verdict.conflict)
        else:
            self._held()

    def _move(self, real_parent: str) -> bool:
        """The path leads elsewhere: want the znodes there.  False if that cannot be."""
        try:
            self._client.claims.take(self, self._contents.paths_below(real_parent))
        except NodeExistsError as error:
            self._refused(error)
            return False
        if self._sessions:
            self._log.info(
                "{path} leads to {new} now, no longer to {old}",
                path=self.parent,
                new=real_parent,
                old=self.real_parent,
            )
        self._contents.move(real_parent)
        self._first, self._replace = True, self._replaces
        self._gap = 0.0  # nobody has deleted anything
        return True

    async def _remove_left(self, session: int) -> None:
        """Delete our znodes where the path led before."""
        left = sorted(self._contents.left)
        if not left:
            return
        stats = await together([self._client.exists(path) for path in left])
        ours = {session, *self._sessions}
        await self._delete(
            Found(path, stat.ephemeral_owner, stat.version)
            for path, stat in zip(left, stats, strict=True)
            if stat is not None and stat.ephemeral_owner in ours
        )
        self._contents.left.difference_update(left)
        self._client.claims.give_back(self, left)
        for path in left:
            watch = self._watches.pop(path, None)
            if watch is not None:
                watch.cancel()

    async def _look(self) -> list[Found]:
        """Read all znodes at once, each with a watch."""
        stats = await together([self._exists(path) for path in self.paths])
        return [
            Found(path, None) if stat is None else Found(path, stat.ephemeral_owner, stat.version)
            for path, stat in zip(self.paths, stats, strict=True)
        ]

    def _exists(self, path: str) -> Deferred[Any]:
        if path in self._watches:
            return self._client.exists(path)
        value, watch = self._client.exists_and_watch(path)
        self._watches[path] = watch
        watch.addBoth(self._changed, path)
        return value.addErrback(self._not_watched, path)

    def _not_watched(self, failure: Failure, path: str) -> Failure:
        """The read failed, so its watch was never set."""
        watch = self._watches.pop(path, None)
        if watch is not None:
            watch.addErrback(lambda _: None)
        return failure

    async def _apply(self, verdict: Verdict, session: int) -> None:
        """Carry a verdict out in one transaction: all addresses or none, and no gap."""
        self._sessions.add(session)
        self._made_under = session
        data = self._contents.data
        change = self._client.transaction()
        replace, write = verdict.replace, verdict.write
        if not self._writable:
            replace, write = (*replace, *write), ()
        for one in replace:
            self._say_whose(one)
            change.delete(one.path, one.version)
        for path in (*verdict.create, *(one.path for one in replace)):
            change.create(path, data[path], self._acl, ephemeral=True)
        for one in write:
            change.set(one.path, data[one.path], one.version)
        try:
            await change.commit()
        except TransactionFailedError as error:
            cause = error.results[error.failed]
            if isinstance(cause, NoAuthError) and write:
                self._writable = False  # somebody may write, but that is not us
                return await self._apply(verdict, session)
            if isinstance(cause, NoNodeError):
                self._place.lost()
            raise cause or error from None
        if data is self._contents.data:
            self._write = False
        if verdict.create or verdict.replace:
            self._created = self._clock.seconds()

    def _say_whose(self, one: Found) -> None:
        if one.owner not in self._sessions:
            self._log.warn(
                "{path} was left by session {owner}: it is replaced",
                path=one.path,
                owner=_session_name(one.owner),
            )

    async def _remove(self, ours: Iterable[Found]) -> None:
        """Delete the znodes that are ours; one that is gone already is what is wanted."""
        await self._delete(ours)
        self._failures = 0
        self._made_under = 0
        if self._final:
            self._withdrawn(True)
        else:
            self._become(RegistrationState.OUT, self._why_out)

    async def _delete(self, ours: Iterable[Found]) -> None:
        deleted = [self._client.delete(one.path, one.version) for one in ours]
        await together([one.addErrback(_already_gone) for one in deleted])

    def _too_soon(self, verdict: Verdict, session: int) -> bool:
        """Whether a znode that keeps being deleted must wait; see CREATE_GAP.

        An expiry deletes it as well, and so do we ourselves: after that nothing is too soon.
        """
        if not (verdict.create or verdict.replace):
            return False
        held = self._clock.seconds() - self._created  # negative if the clock was set back
        if session != self._made_under or not 0 <= held <= CREATE_GAP_MAX:
            self._gap = 0.0
        elif held < self._gap:
            # What is lost in rounding must not lead to another look at the same moment.
            self._poke_in(max(0.001, self._gap - held))
            return True
        self._gap = min(max(CREATE_GAP, self._gap * 2), CREATE_GAP_MAX)
        return False

    # -- how a pass ends -------------------------------------------------------------

    def _held(self) -> None:
        self._failures = 0
        self._first = self._replace = False
        if not self._wanted:  # any more: the next pass removes them
            return
        self._become(RegistrationState.REGISTERED)
        if not self._write:
            waiting, self._waiting = self._waiting, []
            for done in waiting:
                if not done.called:  # else it was cancelled in the callback of another
                    done.callback(self)

    def _contested(self, other: Found) -> None:
        """Somebody else's znode is there: wait for it to go; the watch will tell."""
        whose = "nobody: it is not ephemeral"
        if other.owner:
            whose = f"session {_session_name(other.owner)}, another process's"
        self._become(
            RegistrationState.CONTESTED,
            f"{other.path} is owned by {whose}; it is registered here when that znode goes",
        )
        self._poke_in(self._client.session_timeout)

    def _race_lost(self, error: ZooKeeperError) -> None:
        if self._failures < 3:
            self._failures += 1
            self._again = True
        else:  # nobody is that quick: something is wrong
            self._refused(error)

    def _gone(self, error: ZooKeeperError) -> None:
        self._in_doubt = True
        if self._client.state is State.CONNECTED:
            self._failures += 1
            self._retry_later()
        elif self.state is not RegistrationState.REGISTERED:
            self._become(RegistrationState.WAITING)

    def _refused(self, error: ZooKeeperError) -> None:
        self._failures += 1
        self._become(RegistrationState.FAILING, str(error))
        self._fail_waiting(Failure(error))
        self._retry_later()

    def _retry_later(self) -> None:
        pause = min(RETRY * 2 ** min(self._failures, 16), RETRY_MAX)
        self._poke_in(pause * (0.5 + self._random() / 2))

    def _withdrawn(self, deleted: bool) -> None:
        if self.state is RegistrationState.WITHDRAWN:
            return
        self._subscription.cancel()
        self._stop_timer()
        self._place.cancel()
        self._client.claims.give_back(self, (*self.paths, *self._contents.left))
        watches, self._watches = self._watches, {}
        self._become(RegistrationState.WITHDRAWN)
        for watch in watches.values():
            watch.cancel()
        leaving, self._leaving = self._leaving, []
        for done in leaving:
            if not done.called:
                done.callback(deleted)

    def _become(self, state: RegistrationState, reason: str = "") -> None:
        """The only way the state changes; said once.  Withdrawn is the end."""
        if self.state is RegistrationState.WITHDRAWN:
            return
        if (state, reason) == (self.state, self.reason):
            return
        self.state, self.reason = state, reason
        say = self._log.warn if state in _WORRYING else self._log.info
        say(
            "{paths}: {state}{detail}",
            paths=", ".join(self.paths),
            state=state.value,
            detail=f" ({reason})" if reason else "",
        )
        self._listeners.tell(Change(state, reason))

    def _fail_waiting(self, failure: Failure) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            if not done.called:
                done.errback(failure)

    def _waiting_cancelled(self, done: Deferred[Registration]) -> None:
        if done in self._waiting:
            self._waiting.remove(done)

    def _leaving_cancelled(self, done: Deferred[bool]) -> None:
        if done in self._leaving:
            self._leaving.remove(done)


_WORRYING: Final = (RegistrationState.CONTESTED, RegistrationState.FAILING)


def _session_name(owner: int | None) -> str:
    """As servers and their tools write it: unsigned, hexadecimal."""
    return f"0x{(owner or 0) & 2**64 - 1:x}"


def _already_gone(failure: Failure) -> None:
    failure.trap(NoNodeError)
