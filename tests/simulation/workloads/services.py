"""zkserve processes with their front end, health and drain; resolvers, views and HTTP requests."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from typing_extensions import override

from tests.response_body import read_body
from tests.simulation.machine import Machine
from tests.simulation.workloads.base import Workload
from tests.simulation.world import SESSION, World
from tests.simulation.zookeeper import ADDRESSES
from zkservice.discovery import MassLoss, Resolver, Retry, agent
from zkservice.errors import NoProviderError
from zkservice.formats import read_member
from zkservice.registry import Change, RegistrationState, live_children
from zkservice.service.config import (
    Config,
    FrontEnd,
    HealthSettings,
    ListenAddress,
    ZooKeeperTarget,
)
from zkservice.service.front.in_process import InProcessFront
from zkservice.service.lifecycle import ServeService
from zkservice.service.state.availability import HEALTH, OPERATOR
from zkservice.wire.acl import ACL, OPEN_ACL_UNSAFE, Permission
from zkservice.wire.session import State
from zkservice.znodes import split

PATH: Final = "/svc/providers"
PORT: Final = 8080
#: Nobody may register, but the administrator can change that again.
LOCKED_UP: Final = [ACL(Permission.READ | Permission.ADMIN, OPEN_ACL_UNSAFE[0].id)]
#: Seconds after which a process that was asked to end must have: all its bounds together.
END: Final = 25.0
#: Seconds for which a mismatch may last while nothing is wrong: sessions, checks, retries.
SETTLE: Final = 15.0


class Site:
    """One zkserve process: the real service, on a machine of its own.

    Args:
        owner: the workload.
        machine: where it runs.
        health: whether its health is checked.
        advertise: what it registers instead of its own address.
    """

    def __init__(
        self, owner: Services, machine: Machine, *, health: bool, advertise: tuple[str, ...]
    ) -> None:
        self.owner, self.world, self.machine = owner, owner.world, machine
        self.began = self.world.kernel.now
        self.stopping = 0.0  # when it was asked to end
        self.ended = self.killed = False
        self.hurried = False  # by a second signal, which cuts off the requests that run
        self.healthy = True
        self.was_registered = False
        self.state = RegistrationState.WAITING
        self.mismatch: float | None = None  # since when its znode is not as it says
        settings = (
            HealthSettings("/health", interval=1.0, timeout=1.0, rise=1, fall=2) if health else None
        )
        self.config = Config(
            "simulated",
            PATH,
            ZooKeeperTarget(self.world.hosts),
            (ListenAddress.tcp(machine.address, PORT),),
            advertise=advertise,
            health=settings,
            format=owner.format,
            front_end=FrontEnd(status_views=True),
            threads=2,
            session_timeout=SESSION,
            drain_timeout=8.0,
        )
        machine.job_length = self.begin_job
        self.service = ServeService(self.config, machine, self._front)
        machine.on_stop = self._stop
        self.service.privilegedStartService()
        self.service.startService()
        self.registration.subscribe(self._changed)
        self.state = self.registration.state
        self.client.subscribe(self._session_changed)
        self.world.follow(machine.name, self.client)

    def _front(self, service: ServeService) -> InProcessFront:
        return InProcessFront(self.config, self.machine, lambda: self.application, service.end)

    @property
    def name(self) -> str:
        """Its machine's name."""
        return self.machine.name

    @property
    def address(self) -> str:
        """What it listens on."""
        return f"{self.machine.address}:{PORT}"

    @property
    def client(self) -> Any:
        """Its client."""
        assert self.service.announcement is not None
        return self.service.announcement.registrar.client

    @property
    def registration(self) -> Any:
        """Its registration."""
        assert self.service.announcement is not None
        return self.service.announcement.registrar.registration

    @property
    def alive(self) -> bool:
        """Whether there is a process that is not asked to end."""
        return not (self.ended or self.killed or self.stopping)

    @property
    def overdue(self) -> bool:
        """Whether its drain has lasted as long as it may: then it cuts off what still runs."""
        end = self.world.kernel.now - self.config.drain_timeout
        return bool(self.stopping) and self.stopping <= end

    @property
    def session(self) -> int:
        """The id of its session."""
        identity = self.client.client_id
        return 0 if identity is None else int(identity[0])

    def begin_job(self, job: Any) -> float:
        """A thread begins with a request; returns how long the application takes for it."""
        parts = job.request.path.decode().split("/")
        if parts[1] == "n":
            if int(parts[2]) in self.owner.begun:
                self.world.sometimes.reached("agent: sent again")
            self.owner.begun[int(parts[2])] = self
        random = self.world.choices.fixed(f"length {job}")
        return random.choice((0.001, 0.001, 0.001, 0.05, 0.5, 3.0))

    def application(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        """Answer ``/n/NUMBER/SIZE``, and the health check."""
        path = environ["PATH_INFO"]
        if path == "/health":
            status = "200 OK" if self.healthy else "503 Service Unavailable"
            start_response(status, [("Content-Length", "0")])
            return []
        _, _, number, size = path.split("/")
        if environ["REQUEST_METHOD"] == "POST" and int(number) in self.owner.posted:
            self.world.violated("not again", f"{self.name} got the POST {number} again")
        self.owner.posted.add(int(number))
        body = number.encode() * int(size)
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body[: len(body) // 2], body[len(body) // 2 :]]

    # -- its life

    def terminate(self) -> None:
        """SIGTERM."""
        if self.machine.state == "running":
            self.world.note(self.name, "SIGTERM")
            self.machine.callFromThread(self._signalled)

    def _signalled(self) -> None:
        if self.stopping:
            self.hurried = True
            self.service._stop_at_once()
        elif not self.ended:
            self.machine.stop()

    def _stop(self) -> None:
        self.stopping = self.world.kernel.now
        if self.client.state is not State.CONNECTED:
            self.world.sometimes.reached("registration: withdrawn while ZooKeeper is away")
        stopped = self.service.stopService()
        self.world.outcome(stopped, f"{self.name} ends", self._stopped)
        self.owner.later(END, self._must_have_ended)

    def _must_have_ended(self) -> None:
        if self.ended or self.killed:
            return
        if self.owner.disturbed(self.stopping, self):  # perhaps it was suspended itself
            self.owner.later(END, self._must_have_ended)
        else:
            self.world.violated("fires", f"{self.name} has not ended {END:g} s after SIGTERM")

    def _stopped(self, result: object) -> None:
        if isinstance(result, Failure):
            self.world.violated("no error", f"{self.name} failed to end: {result!r}")
        self.ended = True
        self.owner.later(0.2, self._exit)

    def _exit(self) -> None:
        """The reactor stops: nothing may be left, but for what a fault has kept from ending."""
        left = self.machine.leftovers()
        if left and not self.owner.disturbed(self.stopping, self):
            self.world.violated("nothing left", f"{self.name}: {'; '.join(left)}")
        self.machine.die()

    def kill(self) -> None:
        """``kill -9``."""
        self.world.note(self.name, "SIGKILL")
        self.world.sometimes.reached("process killed")
        self.killed = True
        self.machine.die()

    def _session_changed(self, state: State) -> None:
        if self.stopping and state is State.EXPIRED:
            self.world.sometimes.reached("expiry during the drain")

    def _changed(self, change: Change) -> None:
        state, before, self.state = change.state, self.state, change.state
        self.world.note(self.name, f"{state.name} {change.reason}")
        if before is RegistrationState.WITHDRAWN:
            self.world.violated("own znode", f"{self.name} is {state.name} after {before.name}")
        if state is RegistrationState.CONTESTED:
            self.world.sometimes.reached("registration: contested")
        elif state is RegistrationState.FAILING:
            self.world.sometimes.reached("registration: failing")
        elif state is RegistrationState.OUT:
            self.world.sometimes.reached("registration: out")
            if HEALTH in self.availability.reasons and not self.healthy:
                self.world.sometimes.reached("health: unhealthy")
        elif state is RegistrationState.REGISTERED:
            if self.was_registered:
                self.world.sometimes.reached("registration: registered again")
            self.was_registered = True

    @property
    def availability(self) -> Any:
        """Why it is not registered."""
        assert self.service.announcement is not None
        return self.service.announcement.availability

    # -- what must hold

    def check(self) -> None:
        """Its znode, its port and its registration belong together."""
        if self.ended or self.killed or self.machine.state != "running":
            self.mismatch = None
            return
        world = self.world
        node = world.node(self.registration.path)
        mine = node is not None and node.stat.ephemeral_owner == self.session
        listens = (self.machine.address, PORT) in world.network.ports
        if mine and not listens and not self.owner.disturbed(self.stopping, self):
            world.violated("accepting", f"{self.address} is registered, and nothing listens there")
        says = self.registration.state is RegistrationState.REGISTERED
        if says == mine or self.config.advertise:
            self.mismatch = None
        elif self.mismatch is None:
            self.mismatch = world.kernel.now
        elif world.kernel.now > self.mismatch + SETTLE and not self.owner.disturbed(
            self.mismatch, self
        ):
            has = "its znode" if mine else "no znode"
            world.violated(
                "own znode", f"{self.name} has {has}, but says {self.registration.state.name}"
            )

    def wanted(self) -> bool:
        """Whether it should be registered."""
        return self.alive and self.healthy and not self.availability.reasons


class Services(Workload):
    """A few processes that are deployed, killed and taken out, and users of them."""

    name = "service"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        shape = world.choices.fixed("services")
        self.sites: list[Site] = []
        self.begun: dict[int, Site] = {}
        self.posted: set[int] = set()
        self.requests: dict[int, float] = {}
        self.numbers = count()
        self.deployments = count()
        self.count = shape.choice((1, 2, 4))
        self.health = shape.random() < 0.6
        self.format = shape.choice(("properties", "properties", "serverset", "curator", "spring"))
        self.advertise = ("svc.example:80",) if shape.random() < 0.15 else ()
        self.reserve = shape.choice((1.0, 10.0))  # of the agent's budget
        self.admin: Any = None
        self.resolver: Resolver
        self.view: Any = None

    @override
    def start(self) -> None:
        for number in range(self.count):
            self.deploy(self.world.machine(f"service{number}"))
        machine = self.world.machine("user")
        client = self.world.client("user", machine)
        self.clerk = self.world.machine("admin")
        self.admin = self.world.client("admin", self.clerk)
        self.world.must_fire(self.admin.ensure_path(PATH), "admin makes the path")
        self.resolver = Resolver(client, PATH, reactor=machine, mass_loss=MassLoss(3, 5.0, 20.0))
        self.world.must_fire(self.resolver.start(), "the resolver starts")
        self.agent = agent(machine, self.resolver, retry=Retry(reserve=self.reserve))
        self.user = machine
        self.repeat("view", 4.0, 20.0, lambda random: self.look(client, machine), machine)
        self.repeat("request", 0.02, 1.0, self.request, machine)
        self.repeat("deed", 1.0, 12.0, self.deed)
        self.repeat("keep", 1.0, 3.0, self.keep)

    def look(self, client: Any, machine: Machine) -> None:
        """Open a live view, once."""
        if self.view is None:
            self.view = False
            filling = live_children(client, PATH, reactor=machine)

            def filled(view: Any) -> None:
                if not isinstance(view, Failure):
                    self.view = view
                    view(self._seen)
                else:
                    self.view = None

            self.world.outcome(filling, "the view", filled)

    def _seen(self, view: Any) -> None:
        self.world.note("view", " ".join(view))

    def deploy(self, machine: Machine) -> None:
        """Start a process on a machine."""
        self.sites.append(Site(self, machine, health=self.health, advertise=self.advertise))

    def disturbed(self, since: float, site: Site) -> bool:
        """Whether a fault explains what a process, or ZooKeeper, has done since a time."""
        return self.world.disturbed(since - SESSION, *ADDRESSES, site.machine.address)

    # -- requests

    def request(self, random: Random) -> None:
        """An HTTP request to the service."""
        number, size = next(self.numbers), random.choice((1, 1, 100, 20_000))
        method = random.choice((b"GET", b"GET", b"POST"))
        uri = f"http://service/n/{number}/{size}".encode()
        self.requests[number] = self.world.kernel.now
        asking: Deferred[Any] = Deferred.fromCoroutine(self._ask(method, uri))
        asking.addTimeout(20.0, self.user)

        def done(result: Any) -> None:
            began = self.requests.pop(number)
            site = self.begun.pop(number, None)
            if not isinstance(result, Failure):
                status, body = result
                if status == 200 and body != str(number).encode() * size:
                    self.world.violated("right answer", f"{number} got {body[:50]!r}")
                return
            touched = site is not None and self.world.disturbed(
                began - 2.0, self.user.address, site.machine.address
            )
            if site is None or site.killed or site.hurried or site.overdue or touched:
                return
            if result.check(NoProviderError):
                return
            self.world.violated(
                "answered", f"{site.name} began request {number}, and it ended with {result!r}"
            )

        self.world.outcome(asking, f"request {number}", done)

    async def _ask(self, method: bytes, uri: bytes) -> tuple[int, bytes]:
        response = await self.agent.request(method, uri, Headers({b"X": [b"y"]}))
        return response.code, await read_body(response)

    # -- what operators do

    def deed(self, random: Random) -> None:
        """Something that operators do, or that happens to processes."""
        running = [site for site in self.sites if site.alive and site.machine.state == "running"]
        if not running:
            return
        site = random.choice(running)
        deed = random.choice(
            ("out", "ill", "replace", "replace", "restart", "kill", "update", "delete", "lock up")
        )
        self.world.note("DEED", f"{deed} {site.name}")
        getattr(self, "do_" + deed.replace(" ", "_"))(site, random)

    def keep(self, random: Random) -> None:
        """Start another process for one that has ended by itself."""
        if sum(site.alive for site in self.sites) < self.count:
            self.deploy(self.world.machine(f"kept.{next(self.deployments)}"))

    def do_out(self, site: Site, random: Random) -> None:
        """An operator takes it out, and puts it back."""
        site.availability.block(OPERATOR, "new disk")
        self.later(random.random() * 5, lambda: self._if_alive(site, self._put_back), site.machine)

    def _put_back(self, site: Site) -> None:
        site.availability.unblock(OPERATOR)

    def _if_alive(self, site: Site, do: Any) -> None:
        if site.alive:
            do(site)

    def do_ill(self, site: Site, random: Random) -> None:
        """Its application is unhealthy for a while."""
        site.healthy = False

        def well() -> None:
            site.healthy = True

        self.later(random.random() * 8, well)

    def do_replace(self, site: Site, random: Random) -> None:
        """A deployment: a new process starts elsewhere, then the old one is asked to end."""
        self.deploy(self.world.machine(f"{site.name.split('.')[0]}.{next(self.deployments)}"))
        self.later(random.random() * 3, site.terminate)

    def do_restart(self, site: Site, random: Random) -> None:
        """It is asked to end, perhaps twice, and started again on its machine."""
        site.terminate()
        if random.random() < 0.2:
            self.later(random.random(), site.terminate)
        self._again_when_dead(site)

    def do_kill(self, site: Site, random: Random) -> None:
        """It is killed, and started again on its machine."""
        site.kill()
        self.later(random.random() * 4, lambda: self._again_when_dead(site))

    def _again_when_dead(self, site: Site) -> None:
        if not self.working:
            return
        if site.machine.state != "dead":
            self.later(0.5, lambda: self._again_when_dead(site))
        else:
            self.deploy(self.world.process(site.machine))

    def do_update(self, site: Site, random: Random) -> None:
        """Its properties change."""
        updating = site.registration.update(number=random.randint(0, 9))
        self.world.must_fire(updating, f"{site.name} updates", site.machine)
        self.later(60.0, updating.cancel, site.machine)

    def do_delete(self, site: Site, random: Random) -> None:
        """An administrator deletes its znode."""
        deleting = self.admin.delete(site.registration.path)
        self.world.must_fire(deleting, "admin deletes")

    def do_lock_up(self, site: Site, random: Random) -> None:
        """An administrator forbids to register, for a while."""
        self.world.must_fire(self.admin.set_acl(PATH, LOCKED_UP), "admin forbids")
        self.later(random.random() * 5, self._allow, self.clerk)

    def _allow(self) -> None:
        node = self.world.node(PATH)
        if node is None or tuple(node.acl) == tuple(LOCKED_UP):
            allowing = self.admin.set_acl(PATH, OPEN_ACL_UNSAFE)
            self.world.must_fire(allowing, "admin allows")
            self.later(2.0, self._allow, self.clerk)

    # -- what must hold

    @override
    def check(self) -> None:
        for site in self.sites:
            site.check()
        self._check_addresses()
        if self.agent._budget._left < 1:
            self.world.sometimes.reached("agent: budget spent")
        if self.resolver.doubtful:
            self.world.sometimes.reached("resolver: mass loss held back")

    def _check_addresses(self) -> None:
        parent = self.world.node(PATH)
        addresses = []
        for name in sorted(parent.children) if parent is not None else ():
            addresses.append(read_member(name, self.world.node(f"{PATH}/{name}").data).address)
        if len(addresses) != len(set(addresses)):
            self.world.violated("one znode", f"{addresses} are registered")

    @override
    def finish(self) -> None:
        super().finish()
        self.later(1.0, self._allow, self.clerk)

    @override
    def waiting(self) -> list[str]:
        found = [f"request {number}" for number in self.requests]
        wanted = [site for site in self.sites if site.wanted()]
        if self.advertise:
            if wanted and self.world.node(wanted[0].registration.path) is None:
                found.append("nobody has the address")
            return found
        for site in wanted:
            node = self.world.node(site.registration.path)
            if node is None or node.stat.ephemeral_owner != site.session:
                found.append(f"{site.name} is {site.registration!r}")
        parent = self.world.node(PATH)
        there = sorted(parent.children) if parent is not None else []
        if there != sorted(split(site.registration.path)[1] for site in wanted):
            found.append(f"{there} are registered")
        addresses = sorted(site.address for site in wanted)
        if sorted(one.address for one in self.resolver.providers) != addresses:
            found.append(f"the resolver has {self.resolver.providers}")
        if self.view and sorted(self.view) != there:
            found.append(f"the view has {list(self.view)}")
        return found

    def _close_agent(self) -> None:
        self.world.must_fire(self.agent.close(), "the agent closes")

    @override
    def close(self) -> None:
        self.world.must_fire(self.resolver.close(), "the resolver closes")
        self.later(22.0, self._close_agent, self.user)  # when all requests have ended
        self.view = None
        for site in self.sites:
            if site.alive:
                site.terminate()
