"""Keep znodes registered until they are unregistered.

A `Registration` is a reconcile loop: each event (a new session, a watch that fires, a new
goal) causes a pass.  A pass reads the znodes, decides what to change
(`zkservice.registry.decision`), and changes it in one transaction.  One pass runs at a time;
events meanwhile cause another.  A connection that is lost at any step does no harm, because
the next pass reads the znodes again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from zkservice.client import Subscription, ZooKeeperClient
from zkservice.deferreds import Backoff, Reconciler, Waiters
from zkservice.errors import (
    AuthFailedError,
    BadVersionError,
    ClientClosedError,
    ConnectionLossError,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
    UnregisteredError,
    ZooKeeperError,
)
from zkservice.formats import Unavailable
from zkservice.registry.contents import Contents
from zkservice.registry.creation_throttle import CreationThrottle
from zkservice.registry.decision import ObservedNode, ReconcilePlan
from zkservice.registry.owned_nodes import OwnedNodes
from zkservice.registry.parent_path import ParentPath
from zkservice.registry.registration_state import (
    JITTER,
    RACES,
    RETRY,
    RETRY_MAX,
    VISIBLE,
    Change,
    Goal,
    RegistrationState,
    Status,
)
from zkservice.wire.acl import ACL, READ_ACL_UNSAFE
from zkservice.wire.session import State
from zkservice.znodes import session_name, validate

__all__ = ["Registration"]

# Goals that `suspend` and `resume` change.
_CHANGEABLE: Final = (Goal.PRESENT, Goal.MARKED, Goal.SUSPENDED)
# The znodes changed between the read and the transaction: read again.
_RACES: Final = (NodeExistsError, NoNodeError, BadVersionError)
# The session has ended.
_OVER: Final = (State.EXPIRED, State.AUTH_FAILED, State.CLOSED)
# The connection or the session is lost: its next state causes the next pass.
_LOST: Final = (ConnectionLossError, SessionExpiredError, ClientClosedError)


class Registration:
    """One or more ephemeral znodes with the same data, registered together or not at all.

    Created by `register`, which documents the arguments.  Call all methods in the reactor's
    thread.
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
        self._reconciler = Reconciler(self._reconcile, clock, self._crashed, self._can_reconcile)
        contents = Contents(
            validate(real_parent or path),
            addresses,
            properties,
            format=format,
            tls=frozenset(tls),
            since=int(clock.seconds() * 1000),
        )
        self._parent = ParentPath(client, validate(path), self._reconciler.trigger)
        self._nodes = OwnedNodes(client, contents, acl, self._reconciler.trigger)
        self._client = client
        self._random = random
        self._goal = Goal.PRESENT
        self._suspended_for = ""  # the reason that was given
        self._status = Status(self._log, lambda: ", ".join(self.paths))
        # Whether the znodes were owned once below the present real parent.  Until then, znodes of
        # other sessions may be replaced, and several addresses are registered all or none.
        self._held = False
        self._replace = replace
        self._backoff = Backoff(RETRY, RETRY_MAX, random)
        self._throttle = CreationThrottle(clock)
        self._registered: Waiters[Registration] = Waiters()
        self._unregistered: Waiters[bool] = Waiters()
        self._subscription = client.subscribe(self._session_changed)
        self._reconciler.trigger()

    def __repr__(self) -> str:
        return f"<Registration {self.state.name} {', '.join(self.paths)}>"

    # -- state -----------------------------------------------------------------

    @property
    def state(self) -> RegistrationState:
        """The present state."""
        return self._status.state

    @property
    def reason(self) -> str:
        """Why it is in this state; empty for states without a reason."""
        return self._status.reason

    @property
    def addresses(self) -> tuple[str, ...]:
        """The registered addresses, each ``host:port``."""
        return self._nodes.contents.addresses

    @property
    def properties(self) -> dict[str, Any]:
        """The properties that are stored with each address."""
        return self._nodes.contents.properties

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the znodes, below ``real_parent``."""
        return self._nodes.contents.paths

    @property
    def path(self) -> str:
        """The path of the znode; of the first one if there are several."""
        return self.paths[0]

    @property
    def parent(self) -> str:
        """The path below which to register, as it was given."""
        return self._parent.path

    @property
    def real_parent(self) -> str:
        """Where ``parent`` leads, through symbolic links; equal to it until that is known."""
        return self._nodes.contents.parent

    @property
    def possibly_visible(self) -> bool:
        """Whether the present session has created znodes that clients may still see."""
        return self._nodes.created_by_session

    @property
    def frozen(self) -> bool:
        """Whether it leaves the znodes as they are; see `freeze`."""
        return self._goal is Goal.FROZEN

    def subscribe(self, callback: Callable[[Change], object]) -> Subscription:
        """Call back with each change of state, until the subscription is cancelled."""
        return self._status.subscribe(callback)

    # -- goals -----------------------------------------------------------------

    def when_registered(self) -> Deferred[Registration]:
        """Fires when all znodes are held and carry the latest properties.

        Waits without a limit while the client has no session, also if it was never connected.

        Fails with:
            ZooKeeperError: the server refuses (`NoAuthError`, `InvalidACLError`, ...); the
                registration retries.
            UnregisteredError: it was unregistered.
        """
        if self._goal is Goal.GONE:
            return fail(UnregisteredError(self.path))
        if self.state is RegistrationState.REGISTERED and not self._nodes.outdated:
            return succeed(self)
        return self._registered.add()

    def update(self, **properties: Any) -> Deferred[Registration]:
        """Change properties.  Clients never see the znodes missing.

        They are set in place where the ACL allows writing, and replaced in one
        transaction where it does not.  Fires as `when_registered` does, once the change is stored.

        Fails with:
            TreeValueError: JSON cannot hold a property; nothing has changed.
        """
        return self.replace_properties({**self.properties, **properties})

    def replace_properties(self, properties: Mapping[str, Any]) -> Deferred[Registration]:
        """Replace all properties; otherwise like `update`."""
        try:
            self._nodes.contents.replace_properties(properties)
        except ValueError:
            return fail()
        self._nodes.outdated = True
        self._reconciler.trigger()
        return self.when_registered()

    def suspend(self, reason: str, state: Unavailable | None = None) -> None:
        """Take the address out of service until `resume`.

        Args:
            reason: shown in the log and by the property `reason`.
            state: stored in the znodes meanwhile, if their format has it.  Otherwise the znodes
                are deleted.
        """
        goal = Goal.MARKED if self._nodes.contents.can_store(state) else Goal.SUSPENDED
        if self._goal in _CHANGEABLE and (goal, reason) != (self._goal, self._suspended_for):
            self._suspended_for = reason
            self._set_goal(goal)

    def resume(self) -> None:
        """Put the address back into service after `suspend`."""
        if self._goal in _CHANGEABLE and self._goal is not Goal.PRESENT:
            self._set_goal(Goal.PRESENT)

    def announce_stop(self) -> bool:
        """Mark the znodes as about to stop, until `unregister`.

        The state is OUT once they are marked.  `suspend` and `resume` do nothing from then on.

        Returns:
            False if nothing changes: the format has no such mark, or clients see no znodes.
        """
        possible = self._nodes.contents.can_store(Unavailable.STOPPING) and self.possibly_visible
        if not possible or self._goal not in (Goal.PRESENT, Goal.MARKED):
            return False
        self._suspended_for = "stopping"
        self._set_goal(Goal.STOPPING)
        return True

    def _set_goal(self, goal: Goal) -> None:
        self._goal = goal
        marked = goal in (Goal.MARKED, Goal.STOPPING)
        if self._nodes.contents.set_available(available=not marked):
            self._nodes.outdated = True
        self._reconciler.trigger()

    def freeze(self) -> Deferred[None]:
        """Change nothing about the znodes until `take_over`; another process may replace them.

        `suspend` and `resume` do nothing meanwhile.  Fires when the last change has ended.
        """
        if self._goal is not Goal.GONE:
            self._goal = Goal.FROZEN
        return self._reconciler.when_idle()

    def take_over(self, session: int) -> None:
        """Register again after `freeze`, replacing the znodes of another process's session.

        Args:
            session: the id of that session; 0 for no session.
        """
        if self._goal is Goal.FROZEN:
            self._nodes.allow_replacing(session)
            self._throttle.reset()
            if self.state is RegistrationState.REGISTERED:  # the other may own the znodes by now
                self._status.change_to(RegistrationState.WORKING)
            self._set_goal(Goal.PRESENT)

    def unregister(self) -> Deferred[bool]:
        """Delete the znodes, and end the registration.

        Fires with True when the znodes are deleted.  Fires with False when the session ended
        first: then the server deletes them.  It waits for a connection, so add a time-out.
        """
        if self._status.ended:
            return succeed(True)
        done = self._unregistered.add()
        self._goal = Goal.GONE
        self._registered.fail(UnregisteredError(self.path))
        if not self._nodes.may_exist or self._client.state in _OVER:
            self._end(deleted=self._client.state is not State.AUTH_FAILED)
        else:
            self._reconciler.trigger()
        return done

    # -- triggers ----------------------------------------------------------------

    def _session_changed(self, state: State) -> None:
        if state is State.CONNECTED:
            # After an expiry, many processes register at the same time: spread them.
            if self._held and self._goal in VISIBLE and self._nodes.session_is_new:
                self._trigger_in(self._random() * JITTER)
            else:
                self._reconciler.trigger()
        elif state in _OVER and self._goal is Goal.GONE:
            self._end(deleted=False)  # the servers delete the znodes with the session
        elif state is State.AUTH_FAILED:
            self._refused(AuthFailedError(self.path))
        elif state is State.CLOSED:
            # Wait: the owner may connect the client again.
            self._reconciler.cancel_timer()
            self._registered.fail(ClientClosedError(self.path))
            self._status.change_to(RegistrationState.WAITING)
        elif self.state is RegistrationState.REGISTERED and state in _OVER:
            self._status.change_to(RegistrationState.WAITING)

    def _can_reconcile(self) -> bool:
        if self._goal is Goal.FROZEN or self._status.ended:
            return False
        return self._client.state is State.CONNECTED

    def _trigger_in(self, seconds: float) -> None:
        """Schedule a pass in at most so many seconds, unless the session has ended."""
        if self._client.state not in _OVER:
            self._reconciler.trigger_in(seconds)

    def _retry_later(self) -> None:
        self._trigger_in(self._backoff.next())

    # -- a pass --------------------------------------------------------------------

    async def _reconcile(self) -> None:
        try:
            await self._reconcile_once()
        except _RACES as error:
            self._race_lost(error)
        except _LOST:
            self._connection_lost()
        except ZooKeeperError as error:
            self._refused(error)

    async def _reconcile_once(self) -> None:
        """Read the znodes, and change what differs from the goal."""
        nodes = self._nodes
        session = nodes.session
        await nodes.catch_up()
        # The goal may change at each await; that causes another pass.
        if self._goal in VISIBLE and not self._moved_to(await self._parent.resolve()):
            return
        observed = await nodes.read()
        if session != nodes.session:  # the data may be from a session that has ended
            self._reconciler.trigger()
        elif self._goal in VISIBLE:
            await self._make_present(observed, session)
        elif self._goal is not Goal.FROZEN:
            await nodes.delete_abandoned(session)
            await nodes.delete_current(observed, session)
            self._all_deleted()

    def _moved_to(self, real_parent: str) -> bool:
        """Move to a real parent; False if another registration of this client has these znodes."""
        old = self.real_parent
        if real_parent == old:
            return True
        try:
            self._nodes.move(real_parent)
        except NodeExistsError as error:
            self._refused(error)
            return False
        if self._nodes.may_exist:
            self._log.info(
                "{path} leads to {new} now, no longer to {old}",
                path=self.parent,
                new=real_parent,
                old=old,
            )
        self._held = False
        self._throttle.reset()
        return True

    async def _make_present(self, observed: Sequence[ObservedNode], session: int) -> None:
        plan = self._nodes.plan(
            observed, session, replace=self._replace and not self._held, partly=self._held
        )
        if plan.changes:
            if self._too_soon(plan):
                return
            # While it is registered, only another client can have deleted a znode.
            deleted = ", ".join(plan.create) if self._is_registered() else ""
            if self.state is not RegistrationState.REGISTERED:
                self._status.change_to(RegistrationState.WORKING)
            await self._apply(plan, session)
            if deleted:
                self._log.warn(
                    "{path} was deleted by another client; it is registered again", path=deleted
                )
        await self._nodes.delete_abandoned(session)
        if plan.conflict is not None:
            self._contested(plan.conflict)
        else:
            self._all_owned()

    def _is_registered(self) -> bool:
        """Whether the present session has registered the znodes below the present parent."""
        registered = self.state is RegistrationState.REGISTERED
        return registered and self._held and self._nodes.created_by_session

    def _too_soon(self, plan: ReconcilePlan) -> bool:
        """Whether a creation has to wait, since other clients keep deleting the znode.

        If it has, the next pass is scheduled.
        """
        if not plan.creates:
            return False
        delay = self._throttle.delay(deleted_by_others=self._nodes.created_by_session)
        if delay:
            self._trigger_in(delay)
        return delay > 0

    async def _apply(self, plan: ReconcilePlan, session: int) -> None:
        try:
            await self._nodes.apply(plan, session)
        except NoNodeError:
            self._parent.forget()  # the parent is gone, or a znode to be replaced
            raise
        if plan.creates:
            self._throttle.created()

    # -- how a pass ends -------------------------------------------------------------

    def _all_owned(self) -> None:
        self._backoff.reset()
        self._held = True
        if self._goal is Goal.PRESENT:
            self._status.change_to(RegistrationState.REGISTERED)
            if not self._nodes.outdated:
                self._registered.fire(self)
        elif self._goal in VISIBLE and not self._nodes.outdated:
            self._status.change_to(RegistrationState.OUT, self._suspended_for)
        # Otherwise the goal has changed, and the next pass acts on it.

    def _all_deleted(self) -> None:
        self._backoff.reset()
        if self._goal is Goal.GONE:
            self._end(deleted=True)
        else:
            self._status.change_to(RegistrationState.OUT, self._suspended_for)

    def _contested(self, other: ObservedNode) -> None:
        """Wait until the znode of another client is gone: its watch fires then."""
        if other.owner:
            owner = f"session {session_name(other.owner)} of another process"
        else:
            owner = "no session, because it is not ephemeral"
        self._status.change_to(
            RegistrationState.CONTESTED,
            f"{other.path} is owned by {owner}; waiting until that znode is deleted",
        )
        self._trigger_in(self._client.session_timeout)

    def _race_lost(self, error: ZooKeeperError) -> None:
        if self._backoff.failures < RACES:
            self._backoff.count_failure()
            self._reconciler.trigger()
        else:  # not a race, since no other client is that fast
            self._refused(error)

    def _connection_lost(self) -> None:
        self._nodes.connection_lost()
        if self._client.state is State.CONNECTED:
            self._retry_later()
        elif self.state is not RegistrationState.REGISTERED:
            self._status.change_to(RegistrationState.WAITING)

    def _refused(self, error: ZooKeeperError) -> None:
        self._status.change_to(RegistrationState.FAILING, str(error))
        self._registered.fail(error)
        self._retry_later()

    def _crashed(self, failure: Failure) -> None:
        self._log.failure("registering {path} failed; retrying", failure, path=self.path)
        self._retry_later()

    def _end(self, *, deleted: bool) -> None:
        """Stop: nothing is left to do."""
        if self._status.ended:
            return
        self._subscription.cancel()
        self._reconciler.cancel_timer()
        self._parent.cancel()
        self._nodes.release()
        self._status.change_to(RegistrationState.WITHDRAWN)
        self._unregistered.fire(deleted)
