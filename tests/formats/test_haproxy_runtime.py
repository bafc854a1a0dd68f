"""Tests for `zkservice.formats.consumers.haproxy_runtime`: the commands
for HAProxy's socket."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.formats.test_consumers import members
from zkservice.errors import RenderError
from zkservice.formats import Member
from zkservice.formats.consumers import Listing, sort_out
from zkservice.formats.consumers.haproxy_runtime import (
    CONSUMER,
    BackendServer,
    commands,
    parse_servers,
)

A = Member("properties", "10.0.0.1", 8080, {"weight": 3})
V6 = Member("properties", "::1", 80)

#: What HAProxy 2.6.12 said of two servers of a file and one that the socket had added.
SHOWN = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight "
    "srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health "
    "srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord "
    "srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n"
    "3 web 1 static 127.0.0.1 0 0 3 3 3 8 2 0 6 0 0 0 - 18080 - 0 0 - - 0\n"
    "3 web 2 ::1_80 ::1 0 0 1 1 3 8 2 0 6 0 0 0 - 80 - 0 0 - - 0\n"
    "3 web 3 127.0.0.1:9999 127.0.0.1 2 0 5 5 0 1 0 2 6 0 0 0 - 9999 - 0 0 - - 0\n\n"
)


def told(some: list[Member], *servers: BackendServer) -> list[str]:
    """The commands for a backend called web."""
    return list(commands("web", some, servers))


class ParsingTests(SynchronousTestCase):
    """HAProxy's own text."""

    def test_servers(self) -> None:
        """A server that is called as its address is ours."""
        self.assertEqual(
            parse_servers(SHOWN),
            [
                BackendServer("static", False, "ready", 3),
                BackendServer("::1_80", True, "ready", 1),
                BackendServer("127.0.0.1:9999", True, "ready", 5),
            ],
        )

    def test_states(self) -> None:
        """What the socket has asked for counts, not what a health check or the file says."""
        row = "3 web 2 ::1_80 ::1 0 {} 1"
        for admin, state in ((0, "ready"), (1, "maint"), (8, "drain"), (9, "maint"), (4, "ready")):
            [_, second, _] = parse_servers(SHOWN.replace(row.format(0), row.format(admin)))
            self.assertEqual(second.state, state)

    def test_other_replies_are_errors(self) -> None:
        """The message of HAProxy is shown; so is that the columns are others."""
        for reply, expected in (
            ("Can't find backend.\n\n", "HAProxy says: Can't find backend."),
            ("", "nothing"),
            (SHOWN.replace("srv_port", "port"), "in an unknown format"),
            (SHOWN.replace(" 18080 ", " x "), "in an unknown format"),
            ("1\n# srv_name\nx\n", "in an unknown format"),
        ):
            with self.assertRaisesRegex(RenderError, re.escape(expected)):
                parse_servers(reply)

    @given(st.text(max_size=40) | st.text(st.sampled_from("1# \nsrv_name web"), max_size=60))
    def test_nothing_else_escapes(self, reply: str) -> None:
        """Any reply is a list or a RenderError."""
        try:
            parse_servers(reply)
        except RenderError:
            return


class CommandTests(SynchronousTestCase):
    """What has to be said, and no more."""

    def test_new_server(self) -> None:
        """It is added, checked and enabled."""
        self.assertEqual(
            told([A]),
            [
                "add server web/10.0.0.1:8080 10.0.0.1:8080 check weight 3",
                "enable health web/10.0.0.1:8080",
                "enable server web/10.0.0.1:8080",
            ],
        )
        self.assertEqual(told([V6])[0], "add server web/::1_80 [::1]:80 check weight 1")

    def test_nothing_to_do(self) -> None:
        """A backend that is right is left alone, and so are servers that are not ours."""
        self.assertEqual(told([A], BackendServer("10.0.0.1:8080", True, "ready", 3)), [])
        self.assertEqual(told([], BackendServer("static", False, "ready", 3)), [])
        self.assertEqual(told([A], BackendServer("10.0.0.1:8080", False, "maint", 9)), [])

    def test_server_that_stops_is_drained(self) -> None:
        """It gets no new clients, and is not added if it is not there."""
        going = replace(A, available=False)
        ready = BackendServer("10.0.0.1:8080", True, "ready", 3)
        self.assertEqual(told([going], ready), ["set server web/10.0.0.1:8080 state drain"])
        self.assertEqual(told([going], replace(ready, state="drain")), [])
        self.assertEqual(told([going]), [])

    def test_server_that_is_gone_is_deleted(self) -> None:
        """HAProxy deletes servers in maintenance only."""
        ready = BackendServer("10.0.0.1:8080", True, "ready", 3)
        delete = "del server web/10.0.0.1:8080"
        self.assertEqual(told([], ready), ["set server web/10.0.0.1:8080 state maint", delete])
        self.assertEqual(told([], replace(ready, state="maint")), [delete])

    def test_server_that_is_back(self) -> None:
        """One that was not deleted yet, or was added half, serves again."""
        left = BackendServer("10.0.0.1:8080", True, "maint", 1)
        self.assertEqual(
            told([A], left),
            [
                "set server web/10.0.0.1:8080 weight 3",
                "enable health web/10.0.0.1:8080",
                "set server web/10.0.0.1:8080 state ready",
            ],
        )

    @given(st.lists(members, max_size=4))
    def test_nothing_injects_a_command(self, some: list[Member]) -> None:
        """Whatever is registered, each command is one of ours."""
        [listing], _ = sort_out(CONSUMER, [Listing("web", "/svc/web", tuple(some))])
        server = r"web/[0-9a-f.:_]+"
        command = (
            rf"add server {server} [0-9a-f.:\[\]]+( ssl)? check weight \d+"
            rf"|enable (health|server) {server}"
        )
        for one in told(list(listing.members)):
            self.assertTrue(re.fullmatch(command, one), one)
