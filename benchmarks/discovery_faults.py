"""Try what can go wrong between a client and a service, and count what its requests notice.

    python -m benchmarks.discovery_faults [FAULT ...]

Four ``twistd zkserve`` are registered in an ensemble of three Apache ZooKeepers.  A client sends
GETs one after another through ``zkservice.discovery.agent``, with ``response_timeout=1``, while
the fault happens.  Claim: where the documentation says that no request fails, none does.
"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread

from benchmarks.discovery_services import PATH, Service, with_treq
from zkservice.client import ZooKeeperClient
from zkservice.discovery import Resolver, agent
from zkservice.testing.apache import ApacheEnsemble

PROVIDERS = 4
SESSION_TIMEOUT = 4000  # milliseconds


class Trial:
    """A client of the service, and the outcomes of its requests.

    Args:
        reactor: tells the time.
        service: its processes.
        ensemble: its ZooKeepers.
    """

    def __init__(self, reactor: Any, service: Service, ensemble: ApacheEnsemble) -> None:
        self.reactor = reactor
        self.service = service
        self.ensemble = ensemble
        self.client = ZooKeeperClient(service.connection_string, 4.0, reactor=reactor)
        self.file = Path(tempfile.mkdtemp()) / "providers.json"
        self.resolver = Resolver(self.client, PATH, reactor=reactor, remember=self.file)
        self.notes: list[str] = []
        self.begun = 0.0
        self._times: list[float] = []
        self.errors: list[str] = []
        self._agent = agent(reactor, self.resolver, response_timeout=1)
        self._way = with_treq(self._agent, lambda number: "http://hello/")

    async def begin(self) -> None:
        """Wait until all providers are registered."""
        self.client.connect().addErrback(lambda _: None)
        await self.resolver.start()
        await self.wait_until(lambda: len(self.resolver.providers) == PROVIDERS)
        await self.wait_until(lambda: not self.resolver.doubtful)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition is true."""
        while not condition():
            await self.sleep(0.02)

    async def ask(self) -> None:
        """Send one request."""
        start = time.monotonic()
        try:
            if not await self._way(0):
                self.errors.append("an incomplete response")
        except Exception as error:  # noqa: BLE001 - it is counted
            self.errors.append(f"{type(error).__name__}: {error}")
        self._times.append(time.monotonic() - start)

    async def load(self, seconds: float, fault: Callable[[], Awaitable[object]]) -> None:
        """Send requests for some seconds, and cause the fault meanwhile."""

        async def requests() -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                await self.ask()

        async def cause_fault() -> None:
            await self.sleep(0.3)
            self.begun = time.monotonic()
            await fault()

        await gatherResults(
            [Deferred.fromCoroutine(requests()), Deferred.fromCoroutine(cause_fault())]
        )

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await deferLater(self.reactor, seconds)

    async def in_thread(self, *calls: Callable[[], object]) -> None:
        """Call blocking functions in a thread."""
        for call in calls:
            await deferToThread(call)

    def note(self, text: str) -> None:
        """Note what was seen, and how long after the fault."""
        self.notes.append(f"{text} after {time.monotonic() - self.begun:.2f} s")

    async def end(self) -> str:
        """Close the client; return what was seen, as text."""
        await self._agent.close()
        self.resolver.close()
        await self.client.close()
        notes = "".join(f"; {note}" for note in self.notes)
        errors = "".join(f"\n    {error}" for error in sorted(set(self.errors))[:3])
        slowest = max(self._times, default=0)
        return (
            f"{len(self._times):,} GETs, {len(self.errors)} failed, the slowest took "
            f"{slowest:.2f} s{notes}{errors}"
        )


async def zookeeper_killed(trial: Trial) -> None:
    """All three members are killed, and come back."""

    async def fault() -> None:
        await trial.in_thread(*(member.kill for member in trial.ensemble.members))
        await trial.sleep(6)
        await trial.in_thread(trial.ensemble.start)

    await trial.load(15, fault)


async def quorum_lost(trial: Trial) -> None:
    """Two of three members are killed, and come back."""
    two = trial.ensemble.members[:2]

    async def fault() -> None:
        await trial.in_thread(*(member.kill for member in two))
        await trial.sleep(6)
        await trial.in_thread(*(member.launch for member in two))
        await trial.in_thread(*(member.wait_until_ready for member in two))

    await trial.load(15, fault)


async def wiped(trial: Trial) -> None:
    """All members lose their data."""

    first = trial.client.client_id
    doubtful = 0

    def registered_again() -> bool:
        nonlocal doubtful
        doubtful = max(doubtful, len(trial.resolver.doubtful))
        connected = trial.client.client_id not in (None, first)
        return connected and not trial.resolver.doubtful and len(registered()) == PROVIDERS

    def registered() -> set[object]:
        return {one.properties.get("pid") for one in trial.resolver.providers}

    async def fault() -> None:
        await trial.in_thread(*(member.wipe for member in trial.ensemble.members))
        await trial.in_thread(trial.ensemble.start)
        trial.note("an empty ensemble")
        await trial.wait_until(registered_again)
        trial.note(f"all registered again ({doubtful} were doubtful)")

    await trial.load(20, fault)


async def provider_killed(trial: Trial) -> None:
    """SIGKILL to one of four."""
    await _provider_ends(trial, signal.SIGKILL)


async def provider_terminated(trial: Trial) -> None:
    """SIGTERM to one of four."""
    await _provider_ends(trial, signal.SIGTERM)


async def _provider_ends(trial: Trial, how: signal.Signals) -> None:
    async def fault() -> None:
        trial.service.end(trial.service.processes[0], how)
        await trial.wait_until(lambda: len(trial.resolver.providers) < PROVIDERS)
        trial.note("not offered any more")
        trial.service.add()

    await trial.load(8, fault)


async def provider_suspended(trial: Trial) -> None:
    """SIGSTOP to one of four, until its session has expired."""
    victim = trial.service.processes[0]

    async def fault() -> None:
        victim.send_signal(signal.SIGSTOP)
        await trial.wait_until(lambda: bool(trial.resolver.ejected))
        trial.note("ejected")
        await trial.wait_until(lambda: len(trial.resolver.providers) < PROVIDERS)
        trial.note("not offered any more")
        victim.send_signal(signal.SIGCONT)
        await trial.wait_until(lambda: len(trial.resolver.providers) == PROVIDERS)
        trial.note("registered again")

    await trial.load(15, fault)


async def connection_refused(trial: Trial) -> None:
    """An address is registered at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    await _also_registered(trial, port)


async def packets_dropped(trial: Trial) -> None:
    """An address is registered that drops what is sent to it: a listening queue that is full."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        full = [socket.socket() for _ in range(4)]
        for one in full:
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
        await _also_registered(trial, silent.getsockname()[1])
        for one in full:
            one.close()


async def _also_registered(trial: Trial, port: int) -> None:
    async def fault() -> None:
        await trial.client.create(f"{PATH}/127.0.0.1:{port}", ephemeral=True)
        await trial.wait_until(lambda: bool(trial.resolver.ejected))
        trial.note("ejected")

    await trial.load(8, fault)


async def most_killed(trial: Trial) -> None:
    """SIGKILL to three of four at once."""

    async def fault() -> None:
        for process in trial.service.processes[:3]:
            trial.service.end(process, signal.SIGKILL)
        await trial.wait_until(lambda: len(trial.resolver.doubtful) == 3)
        trial.note("3 doubtful")
        for _ in range(3):
            trial.service.add()
        await trial.wait_until(lambda: len(trial.resolver.providers) == PROVIDERS)
        trial.note("3 new ones instead")

    await trial.load(12, fault)


async def invalid_znodes(trial: Trial) -> None:
    """A thousand children that are no providers, and one of them with a megabyte of data."""

    async def fault() -> None:
        await trial.client.create(f"{PATH}/h:99999", b"x", ephemeral=True)
        await trial.client.create(f"{PATH}/huge", b'{"host":"' + b"x" * 1_000_000, ephemeral=True)
        transaction = trial.client.transaction()
        for number in range(1000):
            transaction.create(f"{PATH}/junk{number}", b"\xff{[", ephemeral=True)
        await transaction.commit()
        await trial.wait_until(lambda: len(trial.resolver.problems) == 1002)
        trial.note("1,002 problems known")

    await trial.load(5, fault)


async def session_expires(trial: Trial) -> None:
    """The client's session is ended by another client that has taken it over."""

    async def fault() -> None:
        assert trial.client.client_id is not None
        other = ZooKeeperClient(
            trial.service.connection_string,
            4.0,
            reactor=trial.reactor,
            client_id=trial.client.client_id,
        )
        first = trial.client.client_id[0]
        await other.connect(10)
        await other.close()
        await trial.providers(
            lambda: trial.client.client_id is not None and trial.client.client_id[0] != first
        )
        trial.note("a new session")

    await trial.load(8, fault)


async def client_suspended(trial: Trial) -> None:
    """SIGSTOP to a client for twice its session time-out, while a provider is replaced."""
    child = subprocess.Popen(
        [
            *(sys.executable, "-W", "ignore", "-m", "benchmarks.discovery_faults"),
            *("--client", trial.service.connection_string),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    await trial.sleep(5)
    child.send_signal(signal.SIGSTOP)
    trial.service.end(trial.service.processes[0], signal.SIGKILL)
    trial.service.add()
    await trial.sleep(8)
    child.send_signal(signal.SIGCONT)
    output, _ = await deferToThread(child.communicate)
    trial.notes.append(output.strip())
    if " 0 failed" not in output:
        trial.errors.append("the client's requests have failed")


async def run_client(reactor: Any, hosts: str) -> None:
    """Send requests for 20 seconds, in a process of its own."""
    client = await ZooKeeperClient(hosts, 4.0, reactor=reactor).connect(10)
    resolver = await Resolver(client, PATH, reactor=reactor).start()
    way = with_treq(agent(reactor, resolver, response_timeout=1), lambda number: "http://hello/")
    end, total, failed = time.monotonic() + 20, 0, 0
    while time.monotonic() < end:
        total += 1
        try:
            failed += not await way(0)
        except Exception:  # noqa: BLE001 - it is counted
            failed += 1
    print(f"the client that was suspended: {total:,} GETs, {failed} failed")
    resolver.close()
    await client.close()


async def started_without_zookeeper(trial: Trial) -> None:
    """Clients start while all members are away: one remembers providers in a file."""
    await trial.sleep(1.5)  # the file is written once a second at most
    await trial.in_thread(*(member.kill for member in trial.ensemble.members))
    for name, remember in (("with", trial.file), ("without", True)):
        client = ZooKeeperClient(trial.service.connection_string, 4.0, reactor=trial.reactor)
        client.connect().addErrback(lambda _: None)
        resolver = Resolver(client, PATH, reactor=trial.reactor, remember=remember)
        http_agent = agent(trial.reactor, resolver)
        trial.begun = time.monotonic()
        try:
            await with_treq(http_agent, lambda number: "http://hello/")(0)
            trial.note(f"{name} a file, a response")
        except Exception as error:  # noqa: BLE001 - it is what is looked for
            trial.note(f"{name} one, {type(error).__name__}: {error}")
        await http_agent.close()
        resolver.close()
        await client.close()
    await trial.in_thread(trial.ensemble.start)


FAULTS: dict[str, Callable[[Trial], Awaitable[None]]] = {
    one.__name__: one
    for one in (
        provider_killed,
        provider_terminated,
        provider_suspended,
        connection_refused,
        packets_dropped,
        most_killed,
        invalid_znodes,
        session_expires,
        zookeeper_killed,
        quorum_lost,
        wiped,
        client_suspended,
        started_without_zookeeper,
    )
}


def main() -> None:
    """Try them one after another, with the same service."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--client", metavar="HOSTS", help=argparse.SUPPRESS)
    parser.add_argument("faults", metavar="FAULT", nargs="*", default=list(FAULTS))
    options = parser.parse_args()
    if options.client:
        react(lambda reactor: Deferred.fromCoroutine(run_client(reactor, options.client)))
    ensemble = ApacheEnsemble()
    failed = []

    async def all_faults(reactor: Any) -> None:
        words = ("--session-timeout", str(SESSION_TIMEOUT))
        with Service(PROVIDERS, *words, server=ensemble) as service:
            for name in options.faults:
                trial = Trial(reactor, service, ensemble)
                await trial.begin()
                await FAULTS[name](trial)
                seen = await trial.end()
                print(f"{name}: {seen}", flush=True)
                if " 0 failed" not in seen:
                    failed.append(name)

    react(lambda reactor: Deferred.fromCoroutine(all_faults(reactor)))
    if failed:
        raise SystemExit(f"the claim does not hold: requests have failed in {', '.join(failed)}")


if __name__ == "__main__":
    main()
