"""Tests for `zkservice.publishing.publisher`: what is written when, and which command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from typing_extensions import override

from tests.discovery.test_resolver import ResolverTestCase
from zkservice.client import State
from zkservice.discovery import MassLoss
from zkservice.errors import PublishError
from zkservice.formats.consumers import CONSUMERS
from zkservice.publishing import FileTarget, Publication, Publisher, Source
from zkservice.publishing.files import ReplacedFile


class FakeRunner:
    """Records commands instead of running them."""

    def __init__(self) -> None:
        self.running: list[tuple[str, Deferred[None]]] = []
        self.waits = False
        self.problem = ""

    async def run(self, command: str) -> None:
        """End at once, unless the test wants to wait."""
        done: Deferred[None] = Deferred()
        self.running.append((command, done))
        if not self.waits:
            done.callback(None)
        await done
        if self.problem:
            raise PublishError(self.problem)


class PublisherTests(ResolverTestCase):
    """One service, a file and a command."""

    @override
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        self.path = self.folder / "web.conf"
        self.runner = FakeRunner()

    def publisher(
        self,
        path: str = "/svc",
        keep_last: bool = False,
        file: Path | None = None,
        command: str = "x",
    ) -> Publisher:
        """A publisher of one service that has begun."""
        made: list[Publisher] = []
        source = Source(
            "web", path, self.finder, self.network, lambda: None if not made else made[0].trigger()
        )
        target = FileTarget(
            CONSUMERS["nginx"], ReplacedFile(str(file or self.path), has_command=bool(command))
        )
        runner: Any = self.runner
        publisher = Publisher(
            [Publication(target, (source,), keep_last)],
            command,
            runner,
            lambda: self.finder.state is State.CONNECTED,
            self.network,
            lambda: 1.0,
            0.2,
        )
        made.append(publisher)
        self.addCleanup(source.stop)
        self.addCleanup(publisher.stop)
        self.finder.subscribe(lambda state: publisher.trigger())
        source.start_and_log_errors()
        self.network.settle()
        return publisher

    def hosts_written(self) -> str:
        """The hosts in the file."""
        lines = self.path.read_text().splitlines()
        return " ".join(line.split()[1].partition(":")[0] for line in lines)

    def test_file_follows_the_service(self) -> None:
        """Each change is written, and the command runs after it."""
        self.put("a:80")
        self.publisher()
        self.assertEqual((self.hosts_written(), len(self.runner.running)), ("a", 1))
        self.network.advance(1)
        self.put("b:80")
        self.assertEqual((self.hosts_written(), len(self.runner.running)), ("a b", 2))

    def test_changes_meanwhile_lead_to_one_more_run(self) -> None:
        """While a command runs, and for a moment after it, changes are collected."""
        self.put("a:80")
        self.runner.waits = True
        self.publisher()
        self.put("b:80", "c:80")
        self.assertEqual((self.hosts_written(), len(self.runner.running)), ("a", 1))
        self.runner.waits = False
        self.runner.running[0][1].callback(None)
        self.put("d:80")
        self.assertEqual((self.hosts_written(), len(self.runner.running)), ("a", 1))
        self.network.advance(0.2)
        self.assertEqual((self.hosts_written(), len(self.runner.running)), ("a b c d", 2))

    def test_command_that_fails_is_tried_again(self) -> None:
        """A failure is logged; the command runs again after growing pauses until it succeeds."""
        self.put("a:80")
        self.runner.problem = "it is broken"
        with capturedLogs() as events:
            self.publisher()
            self.network.advance(1.0)
        shown = [(each["problem"], each["pause"]) for each in events if "problem" in each]
        self.assertEqual(shown, [("it is broken", 1.0), ("it is broken", 2.0)])
        self.runner.problem = ""
        self.network.advance(2.0)
        self.network.advance(100)
        self.assertEqual(len(self.runner.running), 3)

    def test_command_of_a_process_before_is_made_up_for(self) -> None:
        """A command that has not succeeded before the process ended runs at the next start."""
        self.put("a:80")
        self.runner.waits = True
        self.publisher().stop()
        self.runner.waits = False
        self.publisher()
        self.assertEqual(len(self.runner.running), 2)

    def test_file_that_cannot_be_written_is_tried_again(self) -> None:
        """The file is written as soon as its directory exists."""
        self.put("a:80")
        with capturedLogs() as events:
            self.publisher(file=self.folder / "none" / "web.conf")
        self.assertIn(
            "there is no directory", next(each["problem"] for each in events if "problem" in each)
        )
        (self.folder / "none").mkdir()
        self.network.advance(1.0)
        self.assertTrue((self.folder / "none" / "web.conf").exists())

    def test_nothing_is_written_while_zookeeper_is_away(self) -> None:
        """Nothing is written without a connection; changes are written afterwards."""
        self.put(*(f"h{number}:80" for number in range(4)))
        self.publisher(command="")
        self.drop("h1:80", "h2:80", "h3:80")
        self.assertEqual(self.hosts_written(), "h0 h1 h2 h3")  # the guard keeps them
        listening, self.network.listening = self.network.listening, {}
        for cable in self.network.cables:
            cable.cut()
        self.network.settle()
        self.network.advance(MassLoss().keep + 1)
        self.assertEqual(self.hosts_written(), "h0 h1 h2 h3")
        self.network.listening = listening
        self.network.advance(60)
        self.assertEqual(self.hosts_written(), "h0")

    def test_empty_service(self) -> None:
        """An empty list is written, unless the last one is to be kept."""
        self.put("a:80")
        self.publisher(command="")
        self.drop("a:80")
        self.assertEqual(self.hosts_written(), "127.0.0.1")
        self.put("b:80")
        self.publisher(command="", keep_last=True)
        self.path.write_text("server kept:80;\n")
        with capturedLogs() as events:
            self.publisher(command="", keep_last=True, path="/svc/b:80")
        self.assertEqual(self.hosts_written(), "kept")
        self.assertIn(
            "no provider is registered; leaving it unchanged", [each.get("what") for each in events]
        )

    def test_path_that_does_not_exist_empties_nothing(self) -> None:
        """An existing file is kept; without one, an empty list is written."""
        self.publisher("/none", command="")
        self.assertEqual(self.hosts_written(), "127.0.0.1")
        self.path.write_text("server kept:80;\n")
        with capturedLogs() as events:
            self.publisher("/none", command="")
        self.assertEqual(self.hosts_written(), "kept")
        self.assertIn(
            "/none: the znode does not exist; leaving it unchanged",
            [each.get("what") for each in events],
        )

    def test_what_is_left_out_is_logged_once(self) -> None:
        """An address that cannot be written safely is logged once."""
        self.put("a:80", "x;y:80")
        with capturedLogs() as events:
            self.publisher(command="")
            self.put("b:80")
        self.assertEqual(self.hosts_written(), "a b")
        warnings = [each["what"] for each in events if "what" in each]
        self.assertEqual(
            warnings, ["left out 'x;y:80' (the host is neither a host name nor an IP address)"]
        )

    def test_preview_changes_nothing(self) -> None:
        """It shows the diff."""
        self.put("a:80")
        publisher = self.publisher(command="")
        self.path.write_text("server b:80;\n")
        shown = self.result(Deferred.fromCoroutine(publisher.preview()))
        self.assertIn("-server b:80;\n+server a:80;\n", shown)
        self.assertEqual(self.hosts_written(), "b")
