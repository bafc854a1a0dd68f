"""Tests for zkservice.web.views: pages that need no worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.web.support import FrontEnd, StartResponse, hello, split
from zkservice.web import DeferredView, Limits, TextView, View, ViewError


def get(path: bytes, method: bytes = b"GET") -> bytes:
    """A request for a path."""
    return method + b" " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n"


class ViewTests(SynchronousTestCase):
    """Which requests are for views, and what views get."""

    def end(self, **views: Any) -> FrontEnd:
        """A front end with all workers busy, and views under their names."""
        end = FrontEnd(hello, views={f"/{name}": view for name, view in views.items()})
        end.workers.holding = True
        return end

    def test_exact_match_of_the_raw_path(self) -> None:
        """Only the path itself, as it is sent, with any query and method."""
        end = self.end(view=TextView(lambda environ: "seen"))
        for data, seen in (
            (get(b"/view"), True),
            (get(b"/view?a=b"), True),
            (get(b"/view", b"DELETE"), True),
            (get(b"http://a/view"), True),
            (get(b"/view/"), False),
            (get(b"/view/x"), False),
            (get(b"//view"), False),
            (get(b"/vi%65w"), False),
            (get(b"/"), False),
        ):
            with self.subTest(data):
                self.assertEqual(b"seen" in end.get(data), seen)

    def test_a_view_gets_a_complete_environ(self) -> None:
        """The path is the script's name, the body is there, the query is passed."""
        seen: list[dict[str, Any]] = []

        def view(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            seen.append(dict(environ, body=environ["wsgi.input"].read()))
            return hello(environ, start_response)

        self.end(view=view).get(
            b"POST /view?a=%20b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
        )
        (environ,) = seen
        self.assertEqual((environ["SCRIPT_NAME"], environ["PATH_INFO"]), ("/view", ""))
        self.assertEqual((environ["QUERY_STRING"], environ["body"]), ("a=%20b", b"abc"))
        self.assertFalse(environ["wsgi.multithread"])

    def test_connection_lives_on(self) -> None:
        """Views and pipelines go together; a generator is chunked; others have their turn."""

        def view(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [])
            return (block for block in (b"a", b"b"))

        end = self.end(view=view)
        client = end.connect()
        answer = client.send(get(b"/view") * 100)
        self.assertLess(answer.count(b" 200 OK"), 100)
        end.clock.pump([0] * 10)
        answer += client.received()
        self.assertEqual(answer.count(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"), 100)
        self.assertFalse(client.closed)

    def test_a_failing_view_is_a_500(self) -> None:
        """A view that fails is logged, and is a 500 like any other."""

        def view(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
            raise ZeroDivisionError

        self.assertIn(b" 500 ", self.end(view=view).get(get(b"/view")))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_slow_view_is_logged_by_its_name(self) -> None:
        """A view that blocks the reactor is logged by its name."""

        def lazy(environ: dict[str, Any]) -> str:
            end.clock.advance(0.06)
            return ""

        end = self.end(view=TextView(lazy), quick=TextView(lambda environ: ""))
        with capturedLogs() as events:
            end.get(get(b"/view"))
            end.get(get(b"/quick"))
        self.assertEqual([event["view"] for event in events], ["lazy"])

    def test_views_are_counted_apart(self) -> None:
        """Views are counted apart."""
        end = self.end(view=TextView(lambda environ: ""))
        end.get(get(b"/view"))
        statistics = end.factory.statistics()
        self.assertEqual((statistics.viewed, statistics.requests), (1, 1))


class TextViewTests(SynchronousTestCase):
    """Views that are a function's text."""

    def answer(
        self,
        function: Callable[[dict[str, Any]], str | bytes],
        headers: tuple[tuple[str, str], ...] = (),
    ) -> tuple[bytes, dict[str, str], bytes]:
        """The response of a text view."""
        end = FrontEnd(hello, views={"/view": TextView(function, headers)})
        return split(end.get(get(b"/view")))

    def test_text_is_utf8_with_its_length(self) -> None:
        """Text is UTF-8, with its length, and the extra headers."""
        status, fields, body = self.answer(lambda environ: "café", (("X-A", "b"),))
        self.assertEqual((status, body), (b"HTTP/1.1 200 OK", "café".encode()))
        self.assertEqual(fields["content-type"], "text/plain; charset=utf-8")
        self.assertEqual((fields["content-length"], fields["x-a"]), ("5", "b"))

    def test_bytes_are_sent_as_they_are(self) -> None:
        """Text that is UTF-8 already, as views of Python 2 often had it, is sent as it is."""
        status, fields, body = self.answer(lambda environ: "café".encode())
        self.assertEqual((status, body), (b"HTTP/1.1 200 OK", "café".encode()))
        self.assertEqual(fields["content-length"], "5")

    def test_a_view_may_set_status_and_headers(self) -> None:
        """A view may answer with another status, and other headers."""

        def view(environ: dict[str, Any]) -> str:
            raise ViewError("404 Not Found", "no such thing", (("X-A", "b"),))

        status, fields, body = self.answer(view)
        self.assertEqual((status, body), (b"HTTP/1.1 404 Not Found", b"no such thing"))
        self.assertEqual(fields["x-a"], "b")


class StatusViewsTests(SynchronousTestCase):
    """The views that are built in."""

    def test_off_by_default(self) -> None:
        """Without the option the views are not served."""
        self.assertTrue(FrontEnd(hello).get(get(b"/-/health")).endswith(b"hello /-/health"))

    def test_health_has_figures(self) -> None:
        """Alive, with figures, while serving and while draining."""
        end = FrontEnd(hello, status_views=True)
        client = end.connect()
        status, _, body = split(client.send(get(b"/-/health")))
        self.assertEqual(status, b"HTTP/1.1 200 OK")
        self.assertTrue(body.startswith(b"ok\n"))
        self.assertIn(b"\nrequests: 1\n", body)
        end.factory.drain(10)
        status, _, body = split(client.send(get(b"/-/health")))
        self.assertEqual(status, b"HTTP/1.1 200 OK")
        self.assertTrue(body.startswith(b"draining\n"))

    def test_threads_show_requests_without_their_query(self) -> None:
        """Every thread with its request, but for its query, and its stack."""
        end = FrontEnd(hello, status_views=True)
        end.workers.holding = True
        end.connect().send(get(b"/?token=secret"))
        job = end.workers.jobs[0]
        body = split(end.get(get(b"/-/threads")))[2].decode()
        self.assertIn("worker-0: GET / from 198.51.100.7 for 1.500 s\n", body)
        self.assertNotIn("secret", body)
        self.assertIn("stack of it", body)
        self.assertIn("worker-1 (stuck): idle", body)
        self.assertIs(job, end.workers.jobs[0])

    def test_idle_threads_are_one_line(self) -> None:
        """Their stacks say nothing, and would hide those of requests that hang."""
        end = FrontEnd(hello, status_views=True)
        body = split(end.get(get(b"/-/threads")))[2].decode()
        self.assertTrue(body.endswith("\nidle: worker-0\n"), body)
        self.assertNotIn("worker-0: idle", body)


class DeferredViewTests(SynchronousTestCase):
    """Views that return a Deferred."""

    def test_no_deadline_of_an_idle_connection_counts(self) -> None:
        """An answer that comes after the idle time is sent, and nothing is logged before."""
        asked: Deferred[View] = Deferred()
        end = FrontEnd(
            hello, Limits(keep_alive=10), views={"/-/all": DeferredView(lambda _: asked)}
        )
        client = end.connect()
        end.clock.advance(9)
        self.assertEqual(client.send(get(b"/-/all")), b"")
        end.clock.pump([1] * 5)
        self.assertEqual(self.flushLoggedErrors(), [])
        asked.callback(TextView(lambda _: "later"))
        end.clock.advance(0)
        self.assertIn(b"later", client.received())
        self.assertFalse(client.closed)
