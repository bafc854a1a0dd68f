"""One fault on top of the other, at random: afterwards all is as it is wanted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from random import Random

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from typing_extensions import override

from tests.functional.load import Load, Proxy
from tests.functional.processes import TIMEOUT, Twistd, free_port, quiet_kazoo, wait_for
from tests.functional.reliability import PROVIDERS, SHORT, ApacheCase
from zkservice.testing.apache import skip_without_apache

#: Rounds of one to three faults each; about two seconds a round.
ROUNDS = int(os.environ.get("ZKSERVICE_FAULT_ROUNDS", "10"))
#: Draw the same faults again with the seed that a failure names.
SEED = int(os.environ.get("ZKSERVICE_FAULT_SEED", "1"))


@skip_without_apache
class FaultTests(ApacheCase):
    """A process behind a network that can be cut, under load."""

    @override
    def setUp(self) -> None:
        """A server, a network, a process; and the dice."""
        self.random = Random(SEED)
        super().setUp()
        self.network = Proxy(self.server.port)
        self.addCleanup(self.network.close)
        folder = tempfile.TemporaryDirectory()  # short: a socket's path has a limit
        self.addCleanup(folder.cleanup)
        self.monitor = os.path.join(folder.name, "monitor")
        self.address = f"127.0.0.1:{free_port()}"
        self.process: Twistd = self.serve(
            *("--port", self.address.rpartition(":")[2], "--monitor", self.monitor),
            hosts=self.network.connection_string,
            session=SHORT,
        )

    def pause(self, *seconds: float) -> None:
        """Wait for one of these."""
        time.sleep(self.random.choice(seconds))

    # -- the faults ----------------------------------------------------------------------

    def cut(self) -> None:
        """The network is silent for a while, perhaps for longer than a session."""
        self.network.cut()
        self.pause(0.01, 0.1, 0.5, 2.2)
        self.network.heal()

    def blink(self) -> None:
        """Connections are reset, one soon after the other."""
        for _ in range(self.random.randint(1, 6)):
            self.network.cut()
            time.sleep(self.random.random() * 0.03)
            self.network.heal()
            time.sleep(self.random.random() * 0.08)

    def delete(self) -> None:
        """An operator deletes the znode and its parents."""
        with self.client() as client, contextlib.suppress(KazooException):
            client.delete("/reliability", recursive=True)

    def occupy(self) -> None:
        """A stranger creates the znode, if it is not there, and goes again."""
        with self.client() as client:
            with contextlib.suppress(KazooException):
                node = f"{PROVIDERS}/{self.address}"
                client.create(node, b"{}", ephemeral=True, makepath=True)
            time.sleep(self.random.random())

    def stand_still(self) -> None:
        """The process is stopped and continued."""
        self.process.signal(signal.SIGSTOP)
        self.pause(0.1, 1.0, 2.5)
        self.process.signal(signal.SIGCONT)

    def crash(self) -> None:
        """ZooKeeper is killed and started."""
        self.server.kill()
        self.pause(0.0, 0.3, 2.5)
        self.server.start()

    def forget(self) -> None:
        """ZooKeeper comes back without its data."""
        self.server.wipe()
        self.pause(0.0, 0.5)
        self.server.start()

    def out_and_in(self) -> None:
        """An operator takes it out and puts it back."""
        for command in (b"out to lunch\n", b"in\n"):
            with socket.socket(socket.AF_UNIX) as monitor:
                monitor.settimeout(TIMEOUT)
                monitor.connect(self.monitor)
                monitor.sendall(command)
                while monitor.recv(4096):
                    pass
            time.sleep(self.random.random() * 0.1)

    # -- the test --------------------------------------------------------------------------

    @contextlib.contextmanager
    def client(self) -> Iterator[KazooClient]:
        """An independent client for the time of a block."""
        client = quiet_kazoo(self.hosts())
        try:
            client.start(TIMEOUT)
            yield client
        finally:
            client.stop()
            client.close()

    def is_ours(self, client: KazooClient) -> bool:
        """Whether the znode is there, and the process's own."""
        try:
            data: bytes = client.get(f"{PROVIDERS}/{self.address}")[0]
        except KazooException:
            return False
        return bool(json.loads(data).get("pid") == self.process.pid)

    def test_it_recovers_from_random_faults_without_losing_a_request(self) -> None:
        """After each round it is registered; no request is ever lost."""
        faults: list[Callable[[], None]] = [
            *(self.cut, self.blink, self.delete, self.occupy),
            *(self.stand_still, self.crash, self.forget, self.out_and_in),
        ]
        with Load(lambda: (self.address,)) as load:
            for number in range(ROUNDS):
                chosen = self.random.choices(faults, k=self.random.randint(1, 3))
                for fault in chosen:
                    fault()
                    self.pause(0.0, 0.05, 0.3)
                names = ", ".join(fault.__name__ for fault in chosen)
                with self.client() as client:
                    what = f"seed {SEED}, round {number}: registered after {names}"
                    wait_for(what, partial(self.is_ours, client))
        self.assertEqual((load.counts.lost, load.counts.refused, load.counts.errors), ([], 0, 0))
        time.sleep(3.0)  # no session of before can take it along now
        with self.client() as client:
            wait_for("it is registered", partial(self.is_ours, client))
            self.process.signal(signal.SIGTERM)
            self.assertEqual(self.process.wait(), 0, self.process.log())
            self.assertEqual(client.get_children(PROVIDERS), [])
        self.assertNotIn("Traceback", self.process.log())
