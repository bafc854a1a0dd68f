"""Tests of ``--reload``: `zkservice.service.front.development`, `error_page` and `loaded_code`."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.usage import Options as BaseOptions
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from zkservice.errors import ApplicationLoadError, ConfigurationError, WorkerUnreachableError
from zkservice.service import zkserve
from zkservice.service.application.error_page import error_page, files_of_error, text_of_error
from zkservice.service.application.load import load_application
from zkservice.service.application.loaded_code import LoadedCode
from zkservice.service.config import Config, Processes, ZooKeeperTarget
from zkservice.service.front.development import Development
from zkservice.service.paste import front_for
from zkservice.supervisor import stamp_of


class FakeWatch:
    """Records the files to watch; the test reports changes."""

    def __init__(self, clock: Any, changed: Callable[[list[str]], object], patterns: Any) -> None:
        self.changed = changed
        self.watched: list[Any] = []
        self.running = False

    def watch_since(self, stamps: Any, found: Any) -> None:
        """Take note."""
        self.watched.append((stamps, found))

    def start(self) -> None:
        """Take note."""
        self.running = True

    def stop(self) -> None:
        """Take note."""
        self.running = False


class FakeWorker:
    """Records requests; the test replies."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.answers: list[Deferred[Any]] = []

    def ask(self, *question: Any, timeout: float) -> Deferred[Any]:
        """Take note."""
        self.asked.append(question)
        self.answers.append(Deferred())
        return self.answers[-1]


class DevelopmentTests(SynchronousTestCase):
    """When workers are replaced, and which of them new connections wait for."""

    @override
    def setUp(self) -> None:
        self.clock = Clock()
        self.worker = FakeWorker()
        self.workers: list[Any] = [self.worker]
        self.reloads = 0
        make: Any = self.make_watch
        self.development = Development(
            ["*.html"], self.clock, lambda: self.workers, self.reload, make
        )
        self.development.start()

    def make_watch(self, *arguments: Any) -> FakeWatch:
        """The one that the test can find."""
        self.watch = FakeWatch(*arguments)
        return self.watch

    def reload(self) -> None:
        """Count."""
        self.reloads += 1

    def test_workers_are_asked_for_the_files_that_they_have_loaded(self) -> None:
        """Each second, for new modules only; a worker that does not reply changes nothing."""
        self.development.ask()
        self.worker.answers[0].callback({"count": 7, "files": {"/a.py": "1"}, "patterns": {}})
        self.clock.advance(1)
        self.worker.answers[1].callback(None)
        self.clock.advance(1)
        self.worker.answers[2].errback(WorkerUnreachableError("gone"))
        self.assertEqual(self.worker.asked, [("files", 0), ("files", 7), ("files", 7)])
        self.assertEqual(self.watch.watched, [({"/a.py": "1"}, {})])

    def test_a_change_reloads_and_holds_connections(self) -> None:
        """Until the new workers serve; the old ones close theirs."""
        self.watch.changed(["/a.py"])
        self.assertEqual((self.reloads, self.development.holding), (1, True))
        self.assertEqual(self.worker.asked, [("finish",)])
        self.development.reloaded("")
        self.assertEqual((self.reloads, self.development.holding), (1, False))

    def test_a_change_during_a_reload_is_waited_for_too(self) -> None:
        """The workers of the first reload have code that is no longer current."""
        self.watch.changed(["/a.py"])
        self.watch.changed(["/a.py"])
        self.development.reloaded("")
        self.assertTrue(self.development.holding)
        self.development.reloaded("")
        self.assertFalse(self.development.holding)

    def test_a_worker_that_ended_is_replaced_by_one_that_shows_the_reason(self) -> None:
        """If that one cannot start either, the old workers serve on."""
        self.watch.changed(["/a.py"])
        self.development.reloaded("exit code 7")
        self.assertEqual((self.reloads, self.development.problem), (2, "exit code 7"))
        self.assertTrue(self.development.holding)
        self.development.reloaded("exit code 7")
        self.assertEqual((self.reloads, self.development.holding), (2, False))
        self.watch.changed(["/a.py"])
        self.assertEqual((self.reloads, self.development.problem), (3, ""))

    def test_bytecode_of_what_has_changed_is_removed(self) -> None:
        """Python compares the time, in seconds, and the size of a source only."""
        source = Path(self.mktemp()).absolute().with_suffix(".py")
        compiled = Path(importlib.util.cache_from_source(str(source)))
        compiled.parent.mkdir(exist_ok=True)
        compiled.write_bytes(b"old")
        self.watch.changed([str(source), "/no/such.py", "/a.html"])
        self.assertFalse(compiled.exists())

    def test_nothing_is_left_behind(self) -> None:
        """After it was stopped it checks no files and makes no call."""
        self.development.ask()
        self.development.stop()
        self.assertEqual((self.clock.getDelayedCalls(), self.watch.running), ([], False))


class ErrorPageTests(SynchronousTestCase):
    """What is shown instead of an application."""

    def load(self, text: str) -> ApplicationLoadError:
        """Why a .wsgi file cannot be loaded."""
        self.file = Path(self.mktemp()).absolute().with_suffix(".wsgi")
        self.file.write_text(text)
        with self.assertRaises(ApplicationLoadError) as caught:
            load_application(str(self.file))
        error: ApplicationLoadError = caught.exception
        return error

    def test_the_traceback_is_that_of_the_application(self) -> None:
        """Without the frames that lead there."""
        text = text_of_error(self.load("def f():\n    1 / 0\nf()\n"))
        self.assertTrue(text.startswith("Traceback (most recent call last):\n"), text)
        self.assertIn(f'File "{self.file}", line 2, in f', text)
        self.assertTrue(text.endswith("ZeroDivisionError: division by zero\n"), text)
        self.assertNotIn(f"{os.sep}zkservice{os.sep}", text)

    def test_the_files_of_an_error_are_found(self) -> None:
        """Those of its frames, and one that is no Python."""
        error = self.load("1 / 0")
        self.assertEqual(files_of_error(error), [str(self.file)])
        error = self.load("this is no Python")
        self.assertEqual(files_of_error(error), [str(self.file)])

    def test_the_page_is_safe_html(self) -> None:
        """Whatever the error says."""
        started: list[Any] = []
        page = error_page("<title>", "<script>\udcff")
        (body,) = page({}, lambda *words: started.append(words))
        self.assertEqual(started[0][0], "500 Internal Server Error")
        self.assertEqual(dict(started[0][1])["Content-Length"], str(len(body)))
        self.assertIn(b"&lt;script&gt;", body)
        self.assertNotIn(b"<script>", body)


class LoadedCodeTests(SynchronousTestCase):
    """What a worker reports of its code."""

    def config(self, spec: str) -> Config:
        """The configuration of an application."""
        return Config(spec, "/svc", ZooKeeperTarget(None), (), processes=Processes(reload=True))

    def test_files_are_sent_if_there_are_new_ones(self) -> None:
        """The reply has modules and the file of the application; None if there are no new ones."""
        code = LoadedCode("/x/app.wsgi")
        told = code.files(0)
        assert told is not None
        self.assertLessEqual({"/x/app.wsgi", os.path.abspath(__file__)}, set(told["files"]))
        self.assertIsNone(code.files(told["count"]))
        told = LoadedCode("config:/x/app.ini#main").files(0)
        assert told is not None
        self.assertIn("/x/app.ini", told["files"])

    def test_stamps_are_those_of_the_start_of_serving(self) -> None:
        """A file that is edited before the first request of the parent counts as changed."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        file, beside = folder / "app.wsgi", folder / "new.py"
        file.write_text("1 / 0")
        code = LoadedCode(str(file))
        serve: Any = lambda config, load: load()  # noqa: E731
        code.serve(self.config(str(file)), serve, "")
        before = stamp_of(str(file))
        file.write_text("application = 1")
        beside.write_text("")
        told = code.files(0)
        assert told is not None
        self.assertEqual(told["files"][str(file)], before)
        self.assertNotEqual(stamp_of(str(file)), before)
        self.assertEqual(told["patterns"][f"{folder}/*.py"], [])

    def test_what_cannot_be_loaded_is_served_as_a_page(self) -> None:
        """Without the views, which may be what cannot be loaded; modules may appear."""
        config = self.config("/none/app.wsgi")
        config = replace(config, front_end=replace(config.front_end, views=(("/v", "v"),)))
        served: list[Config] = []

        def serve(config: Config, load: Callable[[], Any]) -> Any:
            served.append(config)
            return load()

        code = LoadedCode(config.application)
        page: Any = code.serve(config, serve, "")
        (body,) = page({}, lambda *words: None)
        self.assertIn(b"/none/app.wsgi does not exist", body)
        self.assertEqual([each.front_end.views for each in served], [(("/v", "v"),), ()])
        told = code.files(0)
        assert told is not None
        self.assertIn("/none/*.py", told["patterns"])

    def test_a_problem_is_shown_without_trying(self) -> None:
        """The last worker that tried has ended."""
        code = LoadedCode("/none/app.wsgi")
        serve: Any = lambda config, load: load()  # noqa: E731
        page: Any = code.serve(self.config("/none/app.wsgi"), serve, "exit code 7")
        (body,) = page({}, lambda *words: None)
        self.assertIn(b"exit code 7", body)


class Daemon(BaseOptions):
    """In the place of twistd's own options."""

    optFlags = (("nodaemon", "n", "Stay."),)
    subCommands = (("zkserve", None, zkserve.Options, "Serve."),)  # noqa: N815


class OptionTests(SynchronousTestCase):
    """Where ``--reload`` is refused."""

    def test_a_daemon_does_not_reload(self) -> None:
        """It shows tracebacks to clients; in the foreground that is seen."""
        words = ["zkserve", "--path", "/p", "--reload", "m:app"]
        error = self.assertRaises(UsageError, Daemon().parseOptions, words)
        self.assertIn("--reload is for development", str(error))
        Daemon().parseOptions(["-n", *words])

    def test_more_files_need_it(self) -> None:
        """--reload-extra alone would do nothing."""
        words = ["zkserve", "--path", "/p", "--reload-extra", "*.html", "m:app"]
        error = self.assertRaises(UsageError, Daemon().parseOptions, words)
        self.assertEqual(str(error), "--reload-extra needs --reload")

    def test_paste_does_not_reload(self) -> None:
        """It has loaded the application already."""
        config = Config("", "/p", ZooKeeperTarget(None), (), processes=Processes(reload=True))
        nothing: Any = None
        self.assertRaises(ConfigurationError, front_for, config, nothing, nothing, nothing)
