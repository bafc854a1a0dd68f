"""A conversation as it was captured from a real server, byte for byte."""

from __future__ import annotations

from struct import pack, unpack

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.embedded.raw_client import RawClient, started

STAT = 68  # bytes


def stat(czxid: int, mzxid: int, version: int, length: int) -> bytes:
    """A Stat of /v, created and changed at the time of the tests' clock."""
    now = 1_790_000_000_000
    return pack(">qqqqiiiqiiq", czxid, mzxid, now, now, version, 0, 0, 0, length, 0, czxid)


class CapturedConversationTests(SynchronousTestCase):
    """Requests as a client sent them to ZooKeeper 3.8; the replies must be the same bytes."""

    @override
    def setUp(self) -> None:
        server, _ = started(tick_time=0.5)
        server.lose_data(0x2674)
        self.client = RawClient(server)
        self.say("0000002d 00000000 0000000000000000 00001770 0000000000000000 00000010", bytes(17))
        self.welcome = self.client.read()

    def say(self, text: str, *more: bytes) -> None:
        """Send bytes."""
        self.client.send(bytes.fromhex(text) + b"".join(more))

    def heard(self, text: str, *more: bytes) -> None:
        """The bytes that were answered."""
        self.assertEqual(self.client.read().hex(), (bytes.fromhex(text) + b"".join(more)).hex())

    def create_v(self) -> None:
        """Create /v "hi" for world:anyone, as transaction 0x2676."""
        self.say(
            "00000033 00000001 00000001 00000002 2f76 00000002 6869 00000001 0000001f"
            "00000005 776f726c64 00000006 616e796f6e65 00000000"
        )

    def test_a_connect_response_has_37_bytes(self) -> None:
        """A new session: 37 bytes, the time-out asked for, an id with the server in its head."""
        self.assertEqual(self.welcome[:12], bytes.fromhex("00000025 00000000 00001770"))
        session_id, length = unpack(">qi", self.welcome[12:24])
        self.assertEqual((session_id >> 56, length), (1, 16))
        self.assertEqual(self.welcome[-1:], b"\0")

    def test_create_reply_has_the_path(self) -> None:
        """The reply to a create is the header and the path."""
        self.create_v()
        self.heard("00000016 00000001 0000000000002676 00000000 00000002 2f76")

    def test_get_and_watch(self) -> None:
        """Data, Stat; and the event comes before the reply to the change."""
        self.create_v()
        self.client.read()
        self.say("0000000f 00000002 00000004 00000002 2f76 01")
        self.heard(
            "0000005a 00000002 0000000000002676 00000000 00000002 6869",
            stat(0x2676, 0x2676, 0, 2),
        )
        self.say("00000016 00000003 00000005 00000002 2f76 00000000 ffffffff")
        # Servers from 3.9 on put the transaction into the event's header, 3.8 put -1.
        self.heard(
            "0000001e ffffffff 0000000000002677 00000000 00000003 00000003 00000002 2f76"
            "00000054 00000003 0000000000002677 00000000",
            stat(0x2676, 0x2677, 1, 0),
        )

    def test_ping_reply_has_the_last_zxid(self) -> None:
        """A ping is answered with its own number and the last transaction."""
        self.say("00000008 fffffffe 0000000b")
        self.heard("00000010 fffffffe 0000000000002675 00000000")

    def test_delete_reply_is_only_a_header(self) -> None:
        """The reply to a delete is a header alone."""
        self.create_v()
        self.client.read()
        self.say("00000012 00000004 00000002 00000002 2f76 ffffffff")
        self.heard("00000010 00000004 0000000000002677 00000000")

    def test_a_failed_multi_has_a_code_for_each_operation(self) -> None:
        """A multi whose delete finds no node: 0 for what came before, the code, no more."""
        self.say(
            "00000036 00000005 0000000e 0000000d 00 ffffffff 00000001 2f ffffffff"
            "00000002 00 ffffffff 00000002 2f76 ffffffff ffffffff 01 ffffffff"
        )
        self.heard(
            "00000033 00000005 0000000000002676 00000000 ffffffff 00 00000000 00000000"
            "ffffffff 00 ffffff9b ffffff9b ffffffff 01 ffffffff"
        )

    def test_auth_reply_has_no_zxid(self) -> None:
        """An auth packet is answered without a transaction number."""
        self.say("0000001d fffffffc 00000064 00000000 00000006 646967657374 00000003 753a70")
        self.heard("00000010 fffffffc 0000000000000000 00000000")

    def test_missed_events_precede_the_reply(self) -> None:
        """Missed events are sent before the reply."""
        self.say(
            "00000021 fffffff8 00000065 0000000000000000 00000000 00000001 00000001 2f 00000000"
        )
        self.heard(
            "0000001d ffffffff ffffffffffffffff 00000000 00000001 00000003 00000001 2f"
            "00000010 fffffff8 0000000000002675 00000000"
        )

    def test_close_is_answered_before_the_connection_ends(self) -> None:
        """The end is a transaction, is answered, and then the server hangs up."""
        self.say("00000008 00000006 fffffff5")
        self.heard("00000010 00000006 0000000000002676 00000000")
        self.assertFalse(self.client.connected)

    def test_byte_by_byte(self) -> None:
        """However the bytes come, the answers are the same."""
        for byte in bytes.fromhex(
            "00000008 fffffffe 0000000b 0000000f 00000002 00000003 00000002 2f76 00"
        ):
            self.client.send(bytes([byte]))
        self.heard(
            "00000010 fffffffe 0000000000002675 0000000000000010 00000002 0000000000002675 ffffff9b"
        )
