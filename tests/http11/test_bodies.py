"""Tests for zkservice.http11.bodies: where bodies end and where they are kept."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from io import FileIO
from tempfile import TemporaryFile
from time import process_time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.http11.support import both_ways, outcome
from zkservice.errors import BodyStorageError, RequestRefusedError
from zkservice.http11.bodies import ChunkedBody, FixedBody
from zkservice.http11.storage import BodyStorage, BodyStore

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def batched(data: bytes, size: int) -> Iterator[bytes]:
    """The data in pieces of one size."""
    return (data[at : at + size] for at in range(0, len(data), size))


class ChunkedTests(SynchronousTestCase):
    """Chunked bodies, strictly."""

    def test_malformed_framing_is_refused(self) -> None:
        """Each way of hiding a request in the framing is refused, and nothing follows."""
        for body in (
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b"+3\r\nabc\r\n0\r\n\r\n",
            b"-3\r\nabc\r\n0\r\n\r\n",
            b" 3\r\nabc\r\n0\r\n\r\n",
            b"3 \r\nabc\r\n0\r\n\r\n",
            b"3\t\r\nabc\r\n0\r\n\r\n",
            b"\r\nabc\r\n0\r\n\r\n",
            b"3_0\r\nabc\r\n0\r\n\r\n",
            b"3\nabc\r\n0\r\n\r\n",
            b"3\rabc\r\n0\r\n\r\n",
            b"3\r\nabc0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabc\r0\r\n\r\n",
            b"3;a\x00b\r\nabc\r\n0\r\n\r\n",
            b"3;a\nb\r\nabc\r\n0\r\n\r\n",
            b"1ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
            b"3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n",
            b"3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"3\r\nabc\r\n0\r\nHost: evil\r\n\r\n",
            b"3\r\nabc\r\n0\r\nX (y): 1\r\n\r\n",
            b"3\r\nabc\r\n0\r\nno colon\r\n\r\n",
            b"3\r\nabc\r\n0\r\nX: 1\n\r\n",
            b"3\r\nabc\r\n0\r\n" + GET,
            b"3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n",
            b"3\r\nabc\r\n0\r\nContent-Length : 3\r\n\r\n",
            b"3\r\nabc\r\n\r\n0\r\n\r\n",
            b"2\r\r;a\r\n02\r\n41\r\n0\r\n\r\n",
            b"3;\nabc\r\n0\r\n\r\n",
            b"3;\rX\r\nabc\r\n0\r\n\r\n",
            b'3;a="\nb"\r\nabc\r\n0\r\n\r\n',
            b"00000000000000003\r\nabc\r\n0\r\n\r\n",
        ):
            with self.subTest(body):
                self.assertEqual(both_ways(HEAD + body + GET), [400])

    def test_extensions_are_ignored(self) -> None:
        """By the grammar they are read over."""
        for extension in (
            *(b";a", b";a=b", b";a;b=c;d", b" ;a", b"\t;\ta", b";a = b", b";chunk-signature=0f"),
            *(b';a=""', b';a="b;c"', b';a="\\"\\\\"', b';a="\t\xe9";b', b';a="x" ; b'),
        ):
            with self.subTest(extension):
                body = b"3%b\r\nabc\r\n0%b\r\n\r\n" % (extension, extension)
                seen = both_ways(HEAD + body + GET)
                self.assertEqual(seen, [("POST", b"/", b"abc"), ("GET", b"/", b"")])

    def test_malformed_extensions_are_refused(self) -> None:
        """Without a name, a value or the closing quote they are refused, and said to be."""
        for extension in (
            *(b";", b";;a", b";=b", b";a=", b";a;", b";a b", b";a=b c", b";a@b", b";a,b", b";a "),
            *(b';a="b', b';a="b\\"', b';a="b"c', b';a="b""c"', b';a=b"c"', b';"a"', b';a="\x01"'),
            b';a="\r\nX\r\n0\r\n\r\n' + GET + b'"',  # others read on to the closing quote
        ):
            with self.subTest(extension):
                self.assertEqual(both_ways(HEAD + b"1%b\r\nX\r\n0\r\n\r\n" % extension), [400])
                body = ChunkedBody(1 << 20, BodyStore(BodyStorage(1 << 20)))
                error = self.assertRaises(RequestRefusedError, body.feed, b"1%b\r\n" % extension, 0)
                self.assertIn("extensions", error.rule)

    def test_long_extensions_cost_no_more(self) -> None:
        """However they are made, a line of them is looked at once."""
        for flood in (b";a" * 2000, b";a=" + b'"' * 4000, b";a" + b" " * 4000, b";a \t= \t" * 600):
            began = process_time()
            for _ in range(20):
                body = ChunkedBody(1 << 20, BodyStore(BodyStorage(1 << 20)))
                self.assertRaises(RequestRefusedError, body.feed, b"1" + flood[:4000] + b"@\r\n", 0)
            self.assertLess(process_time() - began, 10)

    def test_too_large_for_any_limit(self) -> None:
        """Sixteen digits are a number, and too large a body."""
        self.assertEqual(both_ways(HEAD + b"f" * 16 + b"\r\n"), [413])

    def test_framing_is_bounded(self) -> None:
        """Extensions, zeros and trailers without end are refused although they are no data."""
        for flood in (
            b"1;" + b"x" * 50_000,
            b"0" * 50_000,
            b"1" + b" " * 50_000,
            (b"1;" + b"x" * 900 + b"\r\na\r\n") * 40,
            b"0\r\n" + b"X: y\r\n" * 10_000,
        ):
            with self.subTest(flood[:20]):
                self.assertEqual(both_ways(HEAD + flood), [400])

    def test_small_chunks_are_accepted(self) -> None:
        """A body of ten thousand chunks of one byte is accepted."""
        seen = both_ways(HEAD + b"1\r\na\r\n" * 10_000 + b"0\r\n\r\n")
        self.assertEqual(seen, [("POST", b"/", b"a" * 10_000)])

    def test_tiny_chunks_are_bounded(self) -> None:
        """Chunks that carry next to nothing are refused once there are very many of them."""
        for size in (1, 2, 3):
            with self.subTest(size):
                flood = b"%d\r\n%b\r\n" % (size, b"a" * size) * 70_000
                self.assertEqual(outcome([HEAD + flood]), [400])
                self.assertEqual(outcome([HEAD, *batched(flood, 1000)]), [400])
        large = b"4\r\naaaa\r\n" * 70_000 + b"0\r\n\r\n"
        self.assertEqual(outcome([HEAD + large]), [("POST", b"/", b"aaaa" * 70_000)])

    def test_tiny_chunks_take_no_more_memory_than_their_data(self) -> None:
        """The store gets what has come in one piece, not chunk by chunk."""
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        body = ChunkedBody(1 << 20, BodyStore(BodyStorage(1 << 20)))
        for piece in batched(b"2\r\nab\r\n" * 30_000, 60_000):
            body.feed(piece, 0)
        self.assertEqual(body.store.size, 60_000)
        self.assertLess(tracemalloc.get_traced_memory()[0], 3 * 60_000)

    @given(st.lists(st.binary(min_size=1, max_size=9), min_size=1), st.integers(1, 5))
    def test_a_call_reads_as_many_chunks_as_its_turn_has(
        self, chunks: list[bytes], turn: int
    ) -> None:
        """A call reads as many chunks as its turn has, and the next one goes on behind them."""
        data = b"".join(b"%X\r\n%s\r\n" % (len(each), each) for each in chunks) + b"0\r\n\r\n"
        body = ChunkedBody(1 << 20, BodyStore(BodyStorage(1 << 20)), turn)
        at = calls = 0
        while not body.complete:
            at = body.feed(data, at)
            calls += 1
        self.assertEqual(
            (at, calls), (len(data), -(-(len(chunks) + 1) // turn) + (not (len(chunks) + 1) % turn))
        )
        self.assertEqual(body.store.finish().read(), b"".join(chunks))

    @given(st.lists(st.binary(min_size=1, max_size=50)), st.lists(st.integers(1, 30)))
    def test_data_comes_out_however_it_is_cut(self, chunks: list[bytes], sizes: list[int]) -> None:
        """However chunked and however cut, the data comes out, and no byte behind it."""
        data = b"".join(b"%X\r\n%s\r\n" % (len(each), each) for each in chunks) + b"0\r\n\r\n"
        body = ChunkedBody(1 << 20, BodyStore(BodyStorage(1 << 20)))
        rest = data
        for size in sizes:
            self.assertEqual(body.feed(rest[:size], 0), len(rest[:size]))
            rest = rest[size:]
        self.assertEqual(body.feed(rest + b"next", 0), len(rest))
        self.assertTrue(body.complete)
        self.assertEqual(body.store.finish().read(), b"".join(chunks))

    @given(st.lists(st.binary(min_size=1, max_size=20), min_size=1))
    def test_no_proper_prefix_is_complete(self, chunks: list[bytes]) -> None:
        """No proper prefix of a chunked body is complete."""
        data = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks) + b"0\r\n\r\n"
        for size in range(len(data)):
            body = ChunkedBody(1 << 20, BodyStore(BodyStorage(1 << 20)))
            body.feed(data[:size], 0)
            self.assertFalse(body.complete)

    @given(st.binary(max_size=100))
    def test_arbitrary_bytes_never_crash(self, data: bytes) -> None:
        """Arbitrary bytes are taken or refused, never a crash."""
        try:
            ChunkedBody(1 << 20, BodyStore(BodyStorage(1 << 20))).feed(data, 0)
        except RequestRefusedError as refused:
            self.assertIn(refused.status, (400, 413))


class FullFile(FileIO):
    """A file on a disk that is full, as every write to ``/dev/full`` meets one."""

    def __init__(self) -> None:
        super().__init__("/dev/full", "r+")


class StoreTests(SynchronousTestCase):
    """Where bodies are kept."""

    def store(self, memory: int, disk: int = 1000) -> BodyStore:
        """A store that tells which files it made."""
        self.files: list[FileIO] = []

        def new_file() -> FileIO:
            self.files.append(TemporaryFile(buffering=0))  # noqa: SIM115 - the store closes it
            return self.files[-1]

        self.storage = BodyStorage(memory, disk, new_file)
        return BodyStore(self.storage)

    def test_a_small_body_stays_in_memory(self) -> None:
        """What fits stays in memory."""
        store = self.store(4)
        for part in (b"ab", b"c", b"d"):
            store.append(part)
        self.assertEqual((store.finish().read(), self.files), (b"abcd", []))

    def test_a_large_body_moves_to_one_file(self) -> None:
        """One byte more moves everything to one file, whose room is released when it is closed."""
        store = self.store(4)
        for part in (b"ab", b"c", b"de", b"fg"):
            store.append(part)
        body = store.finish()
        self.assertEqual((body.read(), len(self.files), store.size), (b"abcdefg", 1, 7))
        self.assertEqual(self.storage.on_disk, 7)
        body.close()
        body.close()
        self.assertEqual((self.storage.on_disk, self.files[0].closed), (0, True))

    def test_a_discarded_body_releases_its_file(self) -> None:
        """A body whose client has left takes its file and its room with it."""
        store = self.store(1)
        store.append(b"abc")
        store.discard()
        store.discard()
        self.assertEqual((self.storage.on_disk, self.files[0].closed), (0, True))

    def test_a_full_disk_is_a_507(self) -> None:
        """A disk that is full is a 507, and what was reserved is released without an error."""
        storage = BodyStorage(4, 1000, FullFile)
        store = BodyStore(storage)
        store.append(b"abcd")
        error = self.assertRaises(BodyStorageError, store.append, b"e")
        self.assertEqual(error.status, 507)
        self.assertIn("No space left on device", error.detail)
        store.discard()
        self.assertEqual(storage.on_disk, 0)

    def test_a_missing_temporary_directory_is_a_507(self) -> None:
        """A file that cannot even be made is a 507 as well."""

        def fail() -> FileIO:
            raise FileNotFoundError(2, "No usable temporary directory found")

        store = BodyStore(BodyStorage(1, 1000, fail))
        error = self.assertRaises(BodyStorageError, store.append, b"ab")
        self.assertEqual(error.status, 507)
        store.discard()

    def test_all_bodies_have_one_bound(self) -> None:
        """What does not fit beside the others gets 503; there is room again when they are read."""
        first = self.store(4, disk=10)
        first.append(b"abcdef")
        second = BodyStore(self.storage)
        error = self.assertRaises(BodyStorageError, second.append, b"ghijk")
        self.assertEqual(error.status, 503)
        self.assertEqual(self.assertRaises(BodyStorageError, self.storage.check, 5).status, 503)
        second.discard()
        first.finish().close()
        self.storage.check(10)
        BodyStore(self.storage).append(b"ghijk")

    def test_a_body_that_never_fits_is_a_413(self) -> None:
        """A body over the whole bound is refused with 413: to come again would not help it."""
        store = self.store(4, disk=10)
        self.assertEqual(
            self.assertRaises(RequestRefusedError, store.append, b"a" * 11).status, 413
        )
        self.assertEqual(self.assertRaises(RequestRefusedError, self.storage.check, 11).status, 413)
        self.storage.check(4)

    def test_fixed_body_ends_where_it_said(self) -> None:
        """Bytes behind the length belong to the next message."""
        body = FixedBody(3, self.store(100))
        self.assertEqual((body.feed(b"xab", 1), body.complete), (3, False))
        self.assertEqual((body.feed(b"cGET", 0), body.complete), (1, True))
        self.assertEqual(body.store.finish().read(), b"abc")
