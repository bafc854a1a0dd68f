"""Tests for zkservice.web.wsgi and environ: PEP 3333, sentence by sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from wsgiref.validate import validator

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.web.support import GET, FrontEnd, StartResponse, hello, split
from zkservice.errors import BadResponseError

Environ = dict[str, Any]


class Closing:
    """An iterable that remembers whether it was closed."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self.blocks = iter(blocks)
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self.blocks

    def close(self) -> None:
        """PEP 3333's close."""
        self.closed += 1


def returning(
    result: Iterable[bytes], status: str = "200 OK", headers: list[tuple[str, str]] | None = None
) -> Callable[..., Iterable[bytes]]:
    """An application that says and returns this."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, headers or [])
        return result

    return application


class EnvironTests(SynchronousTestCase):
    """The environ that the application gets."""

    def environ(self, data: bytes) -> Environ:
        """The environ for a request."""
        seen: list[Environ] = []

        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            seen.append(dict(environ, body=environ["wsgi.input"].read()))
            return hello(environ, start_response)

        FrontEnd(application).get(data)
        return seen[0]

    def test_all_of_it(self) -> None:
        """Every key, for a request that has everything."""
        environ = self.environ(
            b"POST /caf%C3%A9//x%2Fy?q=%20 HTTP/1.1\r\nHost: a:81\r\nContent-Type: t\r\n"
            b"Content-Length: 3\r\nX-Thing: 1\r\n\r\nabc"
        )
        errors = environ.pop("wsgi.errors")
        self.assertTrue(all(hasattr(errors, name) for name in ("write", "writelines", "flush")))
        for name in ("zkservice.client_disconnected", "waitress.client_disconnected"):
            self.assertFalse(environ.pop(name)())
        environ.pop("wsgi.input")
        environ.pop("wsgi.file_wrapper", None)
        self.assertEqual(
            environ,
            {
                "body": b"abc",
                "CONTENT_LENGTH": "3",
                "CONTENT_TYPE": "t",
                "GATEWAY_INTERFACE": "CGI/1.1",
                "HTTP_HOST": "a:81",
                "HTTP_X_THING": "1",
                "PATH_INFO": "/caf\xc3\xa9//x/y",
                "QUERY_STRING": "q=%20",
                "RAW_URI": "/caf%C3%A9//x%2Fy?q=%20",
                "REMOTE_ADDR": "198.51.100.7",
                "REMOTE_PORT": "54321",
                "REQUEST_METHOD": "POST",
                "REQUEST_URI": "/caf%C3%A9//x%2Fy?q=%20",
                "SCRIPT_NAME": "",
                "SERVER_NAME": "192.0.2.1",
                "SERVER_PORT": "80",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "SERVER_SOFTWARE": "zkservice",
                "wsgi.input_terminated": True,
                "wsgi.multiprocess": False,
                "wsgi.multithread": True,
                "wsgi.run_once": False,
                "wsgi.url_scheme": "http",
                "wsgi.version": (1, 0),
            },
        )

    def test_a_chunked_body_is_like_one_with_a_length(self) -> None:
        """A chunked body looks like one with a length."""
        environ = self.environ(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
        )
        self.assertEqual((environ["body"], environ["CONTENT_LENGTH"]), (b"abcde", "5"))
        self.assertNotIn("HTTP_TRANSFER_ENCODING", environ)

    def test_requests_share_nothing(self) -> None:
        """What an application puts into its environ is gone with the request."""
        seen: list[bool] = []

        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            seen.append("mine" in environ)
            environ["mine"] = True
            return hello(environ, start_response)

        FrontEnd(application).get(GET + GET)
        self.assertEqual(seen, [False, False])

    def test_the_input_reads_like_a_file(self) -> None:
        """Every way to read the input gives what a file would."""
        got: list[Any] = []

        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            body = environ["wsgi.input"]
            got.extend([body.read(1), body.readline(2), body.readline(), body.readlines()])
            got.extend([body.read(), body.read(5)])
            return hello(environ, start_response)

        FrontEnd(application).get(b"POST / HTTP/1.0\r\nContent-Length: 14\r\n\r\nabcdef\ngh\nijkl")
        self.assertEqual(got, [b"a", b"bc", b"def\n", [b"gh\n", b"ijkl"], b"", b""])

    def test_the_validator_finds_nothing(self) -> None:
        """wsgiref's validator is content, with and without a body."""
        end = FrontEnd(validator(hello))  # type: ignore[arg-type]
        for data in (
            GET,
            b"HEAD /a?b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: x\r\nContent-Length: 1\r\n\r\na",
        ):
            with self.subTest(data):
                self.assertTrue(end.get(data).startswith(b"HTTP/1.1 200 OK"))


class ResponseTests(SynchronousTestCase):
    """What the client gets."""

    def test_a_list_is_sent_with_its_length(self) -> None:
        """A list is sent whole, with its length."""
        status, fields, body = split(FrontEnd(hello).get())
        self.assertEqual((status, body), (b"HTTP/1.1 200 OK", b"hello /"))
        self.assertEqual(fields["content-length"], "7")

    def test_an_empty_body_has_length_0(self) -> None:
        """Nothing has the length 0."""
        _, fields, body = split(FrontEnd(returning([])).get())
        self.assertEqual((fields["content-length"], body), ("0", b""))

    def test_generator_is_sent_block_by_block(self) -> None:
        """Each block has left before the next one is asked for; an empty one is nothing."""
        seen: list[bytes] = []

        def application(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", [])
            for block in (b"a", b"", b"bc"):
                yield block
                seen.append(client.received())

        client = FrontEnd(application).connect()
        last = client.send(GET)
        self.assertTrue(seen[0].endswith(b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n"))
        self.assertEqual([*seen[1:], last], [b"", b"2\r\nbc\r\n", b"0\r\n\r\n"])

    def test_generator_for_http_1_0(self) -> None:
        """An old client learns the end by the connection's."""
        client = FrontEnd(returning(iter([b"a", b"b"]))).connect()
        answer = client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        self.assertIn(b"Connection: close", answer)
        self.assertTrue(answer.endswith(b"\r\n\r\nab"))
        self.assertTrue(client.closed)

    def test_what_is_written_precedes_what_is_returned(self) -> None:
        """What is written comes before what is returned."""

        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            write = start_response("200 OK", [("Content-Length", "4")])
            write(b"a")
            write(b"b")
            return [b"c", b"d"]

        self.assertEqual(split(FrontEnd(application).get())[2], b"abcd")

    def test_a_body_may_be_written_only(self) -> None:
        """A body may be written altogether."""

        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [])(b"abc")
            return []

        self.assertTrue(FrontEnd(application).get().endswith(b"3\r\nabc\r\n0\r\n\r\n"))

    def test_no_body_where_none_belongs(self) -> None:
        """HEAD, 204, 205 and 304 are heads, whatever the application returns, and stay open."""
        for method, status in (
            (b"HEAD", "200 OK"),
            (b"GET", "204 No Content"),
            (b"GET", "205 Reset Content"),
            (b"GET", "304 Not Modified"),
        ):
            for body in ([b"abc"], iter([b"abc", b"d"])):
                with self.subTest((method, status)):
                    client = FrontEnd(returning(body, status)).connect()
                    answer = client.send(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
                    self.assertEqual(split(answer)[2], b"")
                    self.assertFalse(client.closed)

    def test_an_excess_body_is_cut_off(self) -> None:
        """What exceeds the promised length is cut off, the connection lives on."""
        for body in ([b"abcd"], iter([b"ab", b"cd", b"ef"])):
            client = FrontEnd(returning(body, headers=[("Content-Length", "3")])).connect()
            self.assertEqual(split(client.send(GET))[2], b"abc")
            self.assertFalse(client.closed)

    def test_a_short_body_is_shown_to_be_cut(self) -> None:
        """A body that is shorter than promised is shown to be cut."""
        for body in ([b"ab"], iter([b"a", b"b"])):
            client = FrontEnd(returning(body, headers=[("Content-Length", "3")])).connect()
            self.assertEqual(split(client.send(GET))[2], b"ab")
            self.assertTrue(client.transport.aborted)

    def test_close_is_called(self) -> None:
        """Once, whatever happens in between."""

        def failing() -> Iterator[bytes]:
            yield b"a"
            raise ZeroDivisionError

        for blocks, errors in (([b"a"], 0), ([], 0), (failing(), 1)):
            result = Closing(blocks)
            FrontEnd(returning(result)).get()
            self.assertEqual(result.closed, 1)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), errors)

    def test_close_after_the_client_left(self) -> None:
        """Iteration stops and ``close`` is called when the client has left."""

        def blocks() -> Iterator[bytes]:
            yield b"a"
            client.leave()
            yield b"b"
            self.fail("asked for more")

        result = Closing(blocks())
        client = FrontEnd(returning(result)).connect()
        client.send(GET)
        self.assertEqual(result.closed, 1)


class FileTests(SynchronousTestCase):
    """``wsgi.file_wrapper``."""

    @override
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_bytes(b"0123456789" * 20_000)
        self.opened: list[Any] = []

    def served(
        self, open_file: Callable[[], Any], headers: list[tuple[str, str]], method: bytes = b"GET"
    ) -> bytes:
        """What a client gets from an application that wraps a file."""

        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", headers)
            self.opened.append(open_file())
            wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](self.opened[-1], 4096)
            return wrapped

        self.client = FrontEnd(application).connect()
        answer = self.client.send(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertTrue(self.opened[-1].closed)
        return answer

    def test_a_file_is_sent_from_its_position(self) -> None:
        """A file is sent with its length, from its position on, and closed."""

        def at_the_fifth() -> IO[bytes]:
            file = self.path.open("rb")
            file.seek(5)
            return file

        _, fields, body = split(self.served(at_the_fifth, []))
        self.assertEqual(fields["content-length"], "199995")
        self.assertEqual(body, self.path.read_bytes()[5:])

    def test_as_much_as_promised(self) -> None:
        """A shorter length is what is sent."""
        answer = self.served(lambda: self.path.open("rb"), [("Content-Length", "12")])
        self.assertEqual(split(answer)[2], b"012345678901")
        self.assertFalse(self.client.closed)

    def test_less_than_promised(self) -> None:
        """A file that is too short is shown to be."""
        answer = self.served(lambda: self.path.open("rb"), [("Content-Length", "200001")])
        self.assertEqual(len(split(answer)[2]), 200_000)
        self.assertTrue(self.client.transport.aborted)

    def test_head_has_the_length_of_a_file(self) -> None:
        """HEAD tells the length only."""
        _, fields, body = split(self.served(lambda: self.path.open("rb"), [], b"HEAD"))
        self.assertEqual((fields["content-length"], body), ("200000", b""))

    def test_files_of_the_kernel(self) -> None:
        """Files in /proc and /sys, whose size is not their status's, are read."""
        for path in (Path("/proc/self/stat"), Path("/sys/kernel/mm/transparent_hugepage/enabled")):
            if not path.exists():
                continue
            with self.subTest(path):
                expected = path.read_bytes().split()
                answer = self.served(partial(path.open, "rb"), [])
                self.assertFalse(self.client.transport.aborted)
                self.assertIn(expected[1], split(answer)[2])

    def test_an_empty_file_keeps_the_connection(self) -> None:
        """An empty file is a response without contents, and the connection goes on."""
        self.path.write_bytes(b"")
        _, fields, body = split(self.served(lambda: self.path.open("rb"), []))
        self.assertEqual((fields["content-length"], body), ("0", b""))
        self.assertFalse(self.client.closed)

    def test_what_is_no_file(self) -> None:
        """Anything that can be read is read in blocks."""
        answer = self.served(lambda: BytesIO(b"x" * 5000), [])
        self.assertTrue(answer.endswith(b"0\r\n\r\n"))
        self.assertEqual(split(answer)[2].count(b"x"), 5000)


class ErrorTests(SynchronousTestCase):
    """Applications that break their side of the contract."""

    def served(self, application: Callable[..., Any], error: type[BaseException]) -> bytes:
        """The answer to an application that fails with ``error``, which is logged."""
        client = FrontEnd(application).connect()
        answer = client.send(GET)
        self.assertEqual(len(self.flushLoggedErrors(error)), 1)
        self.aborted = client.transport.aborted
        return answer

    def test_an_early_exception_is_a_500(self) -> None:
        """An exception is a 500, and the connection lives on."""

        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            raise ZeroDivisionError("secret")

        answer = self.served(application, ZeroDivisionError)
        self.assertTrue(answer.startswith(b"HTTP/1.1 500 Internal Server Error"))
        self.assertNotIn(b"secret", answer)
        self.assertFalse(self.aborted)

    def test_sys_exit_ends_the_request_not_the_worker(self) -> None:
        """``sys.exit`` in an application ends its request, not the worker."""

        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            sys.exit(1)

        self.assertIn(b" 500 ", self.served(application, SystemExit))

    def test_after_the_head(self) -> None:
        """Once the head has gone, all that is left is to cut the connection."""

        def application(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", [])
            yield b"a"
            raise ZeroDivisionError

        answer = self.served(application, ZeroDivisionError)
        self.assertTrue(answer.endswith(b"1\r\na\r\n"))
        self.assertTrue(self.aborted)

    def test_each_breach_of_wsgi_is_a_500(self) -> None:
        """Each breach is a 500 that the log explains."""

        def never(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            return [b"a"]

        def twice(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [])
            start_response("200 OK", [])
            return []

        for application in (
            never,
            twice,
            returning(["text"]),  # type: ignore[list-item]
            returning(iter(["text"])),  # type: ignore[arg-type]
            returning([], "OK"),
            returning([], headers=[("X", "a\r\nb")]),
            returning([], headers=[("Transfer-Encoding", "chunked")]),
        ):
            self.assertIn(b" 500 ", self.served(application, BadResponseError))

    def test_none_as_a_body_is_a_500(self) -> None:
        """``None`` is not a valid body."""
        self.assertIn(b" 500 ", self.served(returning(None), TypeError))  # type: ignore[arg-type]

    def test_exc_info_before_the_head(self) -> None:
        """An error page replaces what was said before."""

        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [("X-A", "1")])
            try:
                raise ZeroDivisionError
            except ZeroDivisionError:
                start_response("503 Sorry", [("X-B", "2")], sys.exc_info())
            return [b"sorry"]

        status, fields, body = split(FrontEnd(application).get())
        self.assertEqual((status, body), (b"HTTP/1.1 503 Sorry", b"sorry"))
        self.assertIn("x-b", fields)
        self.assertNotIn("x-a", fields)

    def test_exc_info_after_the_head(self) -> None:
        """Too late: the application gets its exception back."""

        def application(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", [])
            yield b"a"
            try:
                raise ZeroDivisionError
            except ZeroDivisionError:
                start_response("500 Sorry", [], sys.exc_info())
            yield b"never"

        answer = self.served(application, ZeroDivisionError)
        self.assertTrue(answer.endswith(b"1\r\na\r\n"))
        self.assertTrue(self.aborted)

    def test_a_failing_close_keeps_the_response(self) -> None:
        """The response was complete before ``close`` failed."""

        class Result(Closing):
            def close(self) -> None:
                raise ZeroDivisionError

        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Length", "1")])
            return Result([b"a"])

        self.assertTrue(self.served(application, ZeroDivisionError).endswith(b"\r\n\r\na"))
        self.assertFalse(self.aborted)
