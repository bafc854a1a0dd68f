"""Four-letter words."""

from __future__ import annotations

import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from tests.embedded.raw_client import NOON, RawClient, connected_client, started
from zkservice.wire.records import ExistsRequest, GetChildrenRequest, GetDataRequest


class WordTests(SynchronousTestCase):
    """Reports, in the formats that people's scripts read."""

    options: dict[str, Any] = {"tick_time": 0.5}  # noqa: RUF012 - never changed

    @override
    def setUp(self) -> None:
        self.server, self.clock = started(**self.options)
        self.one = connected_client(self.server, timeout=10_000)
        self.one.create("/e", flags=1)
        self.one.call(ExistsRequest("/e", True))
        self.one.call(GetChildrenRequest("/e", True))
        (session,) = self.server.sessions()
        self.session = f"{session:#x}"

    def say(self, word: bytes) -> str:
        """The report."""
        asker = RawClient(self.server)
        asker.send(word)
        self.assertFalse(asker.connected)
        return asker.read().decode()

    def test_a_word_may_lack_a_line_end_or_have_bytes_behind(self) -> None:
        """Without a line end, and with bytes behind the word."""
        words = (b"ruok", b"ruok\n", b"isro")
        self.assertEqual([self.say(word) for word in words], ["imok", "imok", "rw"])

    def test_byte_by_byte(self) -> None:
        """A word may come in pieces."""
        asker = RawClient(self.server)
        for letter in b"ruok":
            asker.send(bytes([letter]))
        self.assertEqual((asker.read(), asker.connected), (b"imok", False))

    def test_unknown_word_is_an_oversized_frame(self) -> None:
        """Any other four bytes are a length, and letters are too long a one."""
        self.assertEqual(self.say(b"nope"), "")

    def test_srvr_reports_the_server(self) -> None:
        """The state of the server."""
        zxid = self.server.statistics().zxid
        self.assertRegex(
            self.say(b"srvr"),
            r"\AZookeeper version: 3\.9\.\d+-[^\n]*, built on [^\n]*\n"
            r"Latency min/avg/max: 0/0/0\nReceived: 4\nSent: 3\nConnections: 2\n"
            rf"Outstanding: 0\nZxid: {zxid:#x}\nMode: standalone\nNode count: 6\n\Z",
        )

    def test_stat_adds_the_clients(self) -> None:
        """The same with its clients."""
        lines = self.say(b"stat").split("\n")
        self.assertEqual(
            lines[1:6],
            [
                "Clients:",
                " /127.0.0.1:54321[1](queued=0,recved=3,sent=3)",
                " /127.0.0.1:54321[0](queued=0,recved=1,sent=0)",
                "",
                "Latency min/avg/max: 0/0/0",
            ],
        )

    def test_cons_reports_each_connection(self) -> None:
        """Each connection with its session and its last request."""
        lines = self.say(b"cons").split("\n")
        zxid = self.server.statistics().zxid
        now = int(NOON * 1000)
        self.assertEqual(
            lines,
            [
                " /127.0.0.1:54321[1](queued=0,recved=3,sent=3,"
                f"sid={self.session},lop=GETC,est={now},to=10000,lcxid=0x3,lzxid={zxid:#x},"
                f"lresp={now},llat=0,minlat=0,avglat=0,maxlat=0)",
                " /127.0.0.1:54321[0](queued=0,recved=1,sent=0)",
                "",
                "",
            ],
        )

    def test_dump_reports_sessions_and_ephemerals(self) -> None:
        """Sessions, when they expire, their ephemerals and connections."""
        connected_client(self.server, timeout=1000).lose()
        lines = self.say(b"dump").split("\n")
        self.assertEqual(lines[:2], ["SessionTracker dump:", "Session Sets (2)/(2):"])
        self.assertEqual(
            [line for line in lines if self.session in line],
            [
                f"\t{self.session}",
                f"{self.session}:",
                f"\tip: /127.0.0.1:54321 sessionId: {self.session}",
            ],
        )
        for line in ("Sessions with Ephemerals (1):", "\t/e", "Connections Sets (1)/(1):"):
            self.assertIn(line, lines)
        dates = [line for line in lines if line.startswith("1 expire at ")]
        self.assertEqual(len(dates), 3)
        self.assertRegex(dates[0], r"expire at \w{3} \w{3} \d\d \d\d:\d\d:\d\d UTC \d{4}:$")

    def test_wchs_wchc_wchp_report_data_watches(self) -> None:
        """Connections, paths, and which has which; child watches do not count."""
        self.assertEqual(self.say(b"wchs"), "1 connections watching 1 paths\nTotal watches:1\n")
        self.assertEqual(self.say(b"wchc"), f"{self.session}\n\t/e\n\n")
        self.assertEqual(self.say(b"wchp"), f"/e\n\t{self.session}\n\n")

    def test_envi_fits_into_what_kazoo_reads(self) -> None:
        """kazoo reads the version from its first 8 KiB."""
        report = self.say(b"envi")
        self.assertTrue(report.startswith("Environment:\nzookeeper.version=3.9."))
        self.assertTrue(all("=" in line for line in report.splitlines()[1:]))
        self.assertLess(len(report), 8192)

    def test_conf_reports_settings_in_milliseconds(self) -> None:
        """Settings, times in milliseconds."""
        lines = self.say(b"conf").splitlines()
        for line in (
            "tickTime=500",
            "minSessionTimeout=1000",
            "maxSessionTimeout=10000",
            "maxClientCnxns=0",
            "serverId=0",
        ):
            self.assertIn(line, lines)

    def test_mntr_reports_keys_and_values(self) -> None:
        """Keys and values, a tab between them."""
        self.clock.pump([0.5] * 4)
        values = dict(line.split("\t") for line in self.say(b"mntr").splitlines())
        self.assertEqual(
            [
                values[f"zk_{name}"]
                for name in (
                    "server_state",
                    "ephemerals_count",
                    "num_alive_connections",
                    "global_sessions",
                    "znode_count",
                    "uptime",
                )
            ],
            ["standalone", "1", "2", "1", "6", "2000"],
        )
        self.assertTrue(re.match(r"3\.9\.\d+-", values["zk_version"]))
        self.assertGreater(int(values["zk_open_file_descriptor_count"]), 0)

    def test_crst_and_srst_reset_counters(self) -> None:
        """Counters begin again, the connections' or all of them."""
        connected_client(self.server).lose()
        self.assertEqual(self.say(b"crst"), "Connection stats reset.\n")
        self.assertIn("recved=0,sent=0,sid", self.say(b"cons"))
        self.assertEqual(self.say(b"srst"), "Server stats reset.\n")
        self.assertIn("Received: 1\nSent: 0\n", self.say(b"srvr"))

    def test_dirs_reports_nothing_in_memory(self) -> None:
        """In memory nothing is on the disk."""
        self.assertEqual(self.say(b"dirs"), "datadir_size: 0\nlogdir_size: 0\n")

    def test_srvr_reports_latencies(self) -> None:
        """What a slow request took, in milliseconds."""
        self.server.state.now = iter([NOON, NOON, NOON + 0.25, NOON + 0.25]).__next__
        self.one.send(self.one.request(GetDataRequest("/", False)))
        self.server.state.now = self.clock.seconds
        self.assertIn("Latency min/avg/max: 0/62.5/250\n", self.say(b"srvr"))

    def test_idle_connections_do_not_change_the_fastest_latency(self) -> None:
        """The lowest latency is that of requests, also if some connections have sent none."""
        self.say(b"srst")
        self.server.state.now = iter([NOON, NOON, NOON + 0.25, NOON + 0.25]).__next__
        self.one.send(self.one.request(GetDataRequest("/", False)))
        self.server.state.now = self.clock.seconds
        self.assertIn("Latency min/avg/max: 250/250/250\n", self.say(b"srvr"))

    def test_asking_leaves_nothing_behind(self) -> None:
        """A four-letter word opens no session, and leaves no connection behind."""
        before = self.server.statistics()
        self.say(b"mntr")
        after = self.server.statistics()
        self.assertEqual((after.connections, after.sessions), (before.connections, 1))
