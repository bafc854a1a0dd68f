"""What ``twistd zkserve`` does on any ZooKeeper, with real processes and an independent client."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

from kazoo.client import KazooClient
from twisted.trial.unittest import SynchronousTestCase

from tests.functional.processes import (
    Twistd,
    fetch,
    free_port,
    started_kazoo,
    told,
    wait_for,
)

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLES = os.path.join(os.path.dirname(os.path.dirname(HERE)), "examples")
FLASK = os.path.join(EXAMPLES, "flask_app.py")
PROVIDERS = "/svc/providers"


#: Milliseconds: no session expires only because the machine is busy, and a znode that is
#: deleted only with its session is seen to stay.
LONG = 30_000
#: Milliseconds, for sessions that the test lets expire.
SHORT = 1500


class ServeContract(SynchronousTestCase):
    """What holds on any ZooKeeper; subclasses say which."""

    def make_server(self) -> Any:
        """A ZooKeeper that is not started yet."""
        raise NotImplementedError

    def setUp(self) -> None:
        """A running ZooKeeper, and an independent client."""
        self.server = self.make_server()
        self.addCleanup(self.server.stop)
        self.server.start()
        self.kazoo = self.independent_client()

    def independent_client(self) -> KazooClient:
        """A started kazoo client."""
        return started_kazoo(self, self.server.connection_string)

    def serve(self, *words: str, app: str = FLASK, session: int = LONG) -> Twistd:
        """A ``twistd zkserve`` that ends with the test."""
        process = Twistd(
            self.mktemp(),
            "zkserve",
            *("--zookeeper", self.server.connection_string, "--path", PROVIDERS),
            *("--session-timeout", str(session), *words, app),
        )
        self.addCleanup(process.end)
        return process

    def test_symbolic_links_in_the_path(self) -> None:
        """The address is where the link leads, moves with it, and no node hides the link."""
        for color in ("/blue", "/green"):
            self.kazoo.ensure_path(color)
        self.kazoo.create("/links", b'{"web ->": "/blue"}')
        self.serve("--path", "/links/web", "--host", "127.0.0.1")
        wait_for("registered behind the link", lambda: self.kazoo.get_children("/blue"))
        self.kazoo.set("/links", b'{"web ->": "/green"}')
        wait_for("registered where it leads now", lambda: self.kazoo.get_children("/green"))
        wait_for("gone from where it led", lambda: not self.kazoo.get_children("/blue"))
        self.assertEqual(self.kazoo.get_children("/links"), [])

    def registered(self) -> list[str]:
        """The addresses under the path."""
        if not self.kazoo.exists(PROVIDERS):
            return []
        return sorted(self.kazoo.get_children(PROVIDERS))

    def wait_registered(self) -> str:
        """The one address under the path."""
        return wait_for("an address is registered", self.registered)[0]

    def owner(self, address: str) -> int:
        """The session that owns an address; 0 if there is none."""
        stat = self.kazoo.exists(f"{PROVIDERS}/{address}")
        return 0 if stat is None else int(stat.ephemeralOwner)

    def test_served_registered_and_gone(self) -> None:
        """A Flask application is found, answers, and goes at SIGTERM, not with its session."""
        process = self.serve("--host", "127.0.0.1", "--property", "color=blue")
        served = process.wait_for_log(r"Serving on (\S+)").group(1)
        address = self.wait_registered()
        self.assertEqual(served, address)
        data, stat = self.kazoo.get(f"{PROVIDERS}/{address}")
        self.assertEqual(json.loads(data), {"pid": process.pid, "color": "blue"})
        self.assertNotEqual(stat.ephemeralOwner, 0)
        (acl,), _ = self.kazoo.get_acls(f"{PROVIDERS}/{address}")
        self.assertEqual((acl.perms, acl.id.scheme, acl.id.id), (1, "world", "anyone"))
        status, body = fetch(address)
        self.assertEqual(status, 200)
        self.assertIn(b"Flask", body)
        process.signal(signal.SIGTERM)
        self.assertEqual(process.wait(), 0, process.log())
        self.assertEqual(self.registered(), [])
        self.assertNotIn("Traceback", process.log())

    def test_a_blank_host_registers_every_outside_address(self) -> None:
        """Without --host every outside address of the machine is registered, and answers."""
        process = self.serve()
        process.wait_for_log("Serving on")
        for address in self.registered():
            self.assertEqual(fetch(address)[0], 200)
            self.assertGreater(self.owner(address), 0)

    def test_the_monitors_address_is_in_the_znode(self) -> None:
        """The line protocol's address stands in the znode, and it answers."""
        own = ("--monitor-command", "show=builtins.repr")
        process = self.serve("--host", "127.0.0.1", "--monitor", "127.0.0.1:0", *own)
        process.wait_for_log(r"Serving on \S+\n")
        address = self.wait_registered()
        properties = json.loads(self.kazoo.get(f"{PROVIDERS}/{address}")[0])
        commands = ("help", "servers", "status", f"servers {PROVIDERS}", "show a b")
        answers = {command: told(properties["monitor"], command) for command in commands}
        self.assertIn("status", answers["help"])
        self.assertEqual(answers["show a b"], "['a', 'b']\n")
        (server,) = json.loads(answers["servers"])
        self.assertEqual(
            (server["address"], server["path"], server["pid"]),
            (address, PROVIDERS, properties["pid"]),
        )
        self.assertEqual(answers[f"servers {PROVIDERS}"].strip(), address)
        status = json.loads(answers["status"])
        self.assertEqual((status["registration"], status["session"]), ("registered", "connected"))

    def test_stopped_until_expiry(self) -> None:
        """After SIGSTOP past the expiry and SIGCONT it is back, with a new owner."""
        process = self.serve("--host", "127.0.0.1", session=SHORT)
        address = self.wait_registered()
        owner = self.owner(address)
        process.signal(signal.SIGSTOP)
        wait_for("the session has expired", lambda: not self.owner(address))
        process.signal(signal.SIGCONT)
        new = wait_for("it is registered again", lambda: self.owner(address))
        self.assertNotEqual(new, owner)
        self.assertEqual(fetch(address)[0], 200)

    def test_it_is_registered_again_after_zookeeper_restarts(self) -> None:
        """ZooKeeper goes and comes with its data: served throughout, registered afterwards."""
        process = self.serve("--host", "127.0.0.1", session=2 * SHORT)
        address = self.wait_registered()
        self.server.stop()
        for _ in range(20):
            self.assertEqual(fetch(address)[0], 200)
            time.sleep(0.1)
        self.server.start()
        self.kazoo = self.independent_client()
        wait_for("it is registered", lambda: self.registered() == [address])
        # Past the end of any earlier session it is still there.
        time.sleep(4.0)
        wait_for("it is registered", lambda: self.registered() == [address])
        self.assertEqual(fetch(address)[0], 200)
        process.signal(signal.SIGTERM)
        self.assertEqual(process.wait(), 0, process.log())
        self.assertEqual(self.registered(), [])

    def test_zookeeper_absent_at_start(self) -> None:
        """Served at once without ZooKeeper, registered when it comes."""
        self.kazoo.stop()
        self.server.stop()
        port = free_port()
        process = self.serve("--host", "127.0.0.1", "--port", str(port))
        address = f"127.0.0.1:{port}"
        process.wait_for_log(r"Listening on \S+, but not registered")
        self.assertEqual(fetch(address)[0], 200)
        self.server.start()
        self.kazoo = self.independent_client()
        wait_for("it is registered", lambda: self.registered() == [address])
        process.wait_for_log(rf"Serving on {address}\n")

    def test_killed_and_started_again(self) -> None:
        """After kill -9 the same address is the new process's, and stays when the old dies."""
        port = free_port()
        address = f"127.0.0.1:{port}"
        first = self.serve("--host", "127.0.0.1", "--port", str(port), session=3000)
        self.wait_registered()
        owner = self.owner(address)
        first.signal(signal.SIGKILL)
        first.wait()
        second = self.serve("--host", "127.0.0.1", "--port", str(port))
        second.wait_for_log("Serving on")
        new = self.owner(address)
        self.assertNotEqual(new, owner)
        self.assertEqual(json.loads(self.kazoo.get(f"{PROVIDERS}/{address}")[0])["pid"], second.pid)
        end = time.monotonic() + 4.5
        while time.monotonic() < end:
            self.assertEqual(self.owner(address), new)
            time.sleep(0.05)
        self.assertEqual(fetch(address)[0], 200)

    def test_deleted_by_an_operator(self) -> None:
        """A node that is deleted under a running process comes back, its parents too."""
        self.serve("--host", "127.0.0.1")
        address = self.wait_registered()
        deletion = self.kazoo.transaction()  # one by one, they are back before the last is gone
        for path in (f"{PROVIDERS}/{address}", PROVIDERS, "/svc"):
            deletion.delete(path)
        self.assertEqual(deletion.commit(), [True, True, True])
        wait_for("it is registered again", lambda: self.registered() == [address])
