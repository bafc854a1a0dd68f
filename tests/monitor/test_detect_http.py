"""Tests of how HTTP is distinguished from what an operator types."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zkservice.monitor.detect_http import looks_like_http

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!#$%&'*+-.^_`|~", min_size=1)
TARGET = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


class LooksLikeHTTPTests(SynchronousTestCase):
    """Lines of requests, and others."""

    @given(TOKEN, TARGET, st.sampled_from(["1.0", "1.1", "2.0", "3"]))
    def test_every_request_line(self, method: str, target: str, version: str) -> None:
        """Every request line is recognized, whatever a page chooses for it."""
        for end in ("", "\r", "\r\n"):
            self.assertTrue(looks_like_http(f"{method} {target} HTTP/{version}{end}".encode()))

    def test_a_tls_handshake_is_detected(self) -> None:
        """So is the begin of a TLS handshake."""
        self.assertTrue(looks_like_http(bytes.fromhex("16030100f1010000ed0303")))

    def test_what_operators_type_is_not_http(self) -> None:
        """What operators type is not."""
        for line in (b"", b"status", b"out for HTTP/1.1 tests", b"x = 'HTTP/1.1'", b"HTTP/1.1"):
            self.assertFalse(looks_like_http(line), line)
