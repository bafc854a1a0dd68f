"""Tests for `zkservice.registry.interfaces`."""

from __future__ import annotations

import socket
import subprocess
import sys
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from zkservice.registry.interfaces import (
    interface_addresses,
    kernel_addresses,
    netifaces_addresses,
)

#: A Python process registers a blank host although the interpreter says that the GIL is off.
_FREE_THREADED = """
import sys
sys._is_gil_enabled = lambda: False
from zkservice.registry import advertised_addresses
print(*advertised_addresses("", 80))
assert "netifaces" not in sys.modules
"""


class InterfaceTests(SynchronousTestCase):
    """The real interfaces of this machine."""

    def test_loopback_is_found(self) -> None:
        """Every machine has at least the loopback address."""
        self.assertIn("127.0.0.1", interface_addresses())

    def test_both_sources_agree(self) -> None:
        """The C library and netifaces find the same addresses, of both families."""
        for family in (socket.AF_INET, socket.AF_INET6):
            self.assertEqual(
                sorted(kernel_addresses(family)), sorted(netifaces_addresses(family)), family
            )

    def test_gil_decides_the_source(self) -> None:
        """With the GIL netifaces is used, without it the C library."""
        for enabled, source in ((True, "netifaces_addresses"), (False, "kernel_addresses")):
            with (
                patch("sys._is_gil_enabled", lambda on=enabled: on, create=True),
                patch(f"zkservice.registry.interfaces.{source}", return_value=["192.0.2.1"]),
            ):
                self.assertEqual(interface_addresses(), ["192.0.2.1"])

    def test_free_threaded_python_never_imports_netifaces(self) -> None:
        """Importing it would turn the GIL on for the whole process."""
        done = subprocess.run(
            [sys.executable, "-c", _FREE_THREADED], capture_output=True, text=True, timeout=300
        )
        self.assertEqual(done.stderr, "")
        self.assertIn(":80", done.stdout)
