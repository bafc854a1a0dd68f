"""Each plugin of twistd starts, works and ends: what ``make test`` runs of this folder."""

from __future__ import annotations

import signal
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.functional.processes import EmbeddedProcess, Twistd, fetch, started_kazoo
from zkservice import errors

HELLO = str(Path(errors.__file__).parents[1] / "examples" / "hello.wsgi")


class SmokeTests(SynchronousTestCase):
    """One process for each plugin."""

    def test_zkserve_registers_serves_and_ends(self) -> None:
        """With its embedded ZooKeeper, on a port that the system chooses."""
        words = ("--zookeeper", "embedded", "--path", "/svc/providers", "--host", "127.0.0.1")
        process = Twistd(self.mktemp(), "zkserve", *words, HELLO)
        self.addCleanup(process.end)
        address = process.wait_for_log(r"Serving on (\d\S+)\n").group(1)
        status, body = fetch(address)
        self.assertEqual(status, 200)
        self.assertTrue(body.startswith(b"Hello, 127.0.0.1!"), body)
        process.signal(signal.SIGTERM)
        self.assertEqual(process.wait(), 0, process.log())

    def test_zkregister_registers_and_ends_with_its_command(self) -> None:
        """With its embedded ZooKeeper, and a command that serves nothing."""
        words = ("--zookeeper", "embedded", "--path", "/svc", "--address", "127.0.0.1:1")
        command = ("sh", "-c", "trap 'exit 9' USR1; sleep 600 & wait")
        process = Twistd(self.mktemp(), "zkregister", *words, "--stop-signal=USR1", "--", *command)
        self.addCleanup(process.end)
        process.wait_for_log(r"Serving on 127\.0\.0\.1:1\n")
        process.signal(signal.SIGTERM)
        self.assertEqual(process.wait(), 9, process.log())

    def test_zkembedded_stores_what_a_client_writes(self) -> None:
        """With kazoo as the client."""
        server = EmbeddedProcess(self.mktemp())
        self.addCleanup(server.stop)
        server.start()
        client = started_kazoo(self, server.connection_string)
        client.create("/smoke", b"data")
        self.assertEqual(client.get("/smoke")[0], b"data")
