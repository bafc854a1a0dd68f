"""Tests for `zkservice.service.ports.endpoint_strings`: the errors of invalid endpoints."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from zkservice.errors import ConfigurationError
from zkservice.service.ports import unix_port
from zkservice.service.ports.endpoint_strings import check_endpoint, open_port


class CheckTests(SynchronousTestCase):
    """Before anything is opened."""

    def refused(self, text: str) -> str:
        """Why an endpoint is refused."""
        with self.assertRaises(ConfigurationError) as caught:
            check_endpoint(text)
        self.assertIn(repr(text), str(caught.exception))
        return str(caught.exception)

    def test_an_invalid_endpoint_is_shown_a_valid_one(self) -> None:
        """For an invalid address the error shows a valid one."""
        for text in ("8080", "127.0.0.1:8080", "tcp", "tcp:http"):
            self.assertIn("such as 'tcp:8080:interface=127.0.0.1'", self.refused(text))

    def test_a_missing_file_is_named(self) -> None:
        """A missing file is named; the message does not call the endpoint invalid."""
        message = self.refused("ssl:443:privateKey=/no/such.pem")
        self.assertIn("cannot be used: /no/such.pem: No such file or directory", message)
        self.assertNotIn("is no Twisted", message)

    def test_a_file_without_a_key_is_reported_in_words(self) -> None:
        """A file without a key is reported in plain words, not in OpenSSL's."""
        message = self.refused(f"ssl:443:privateKey={__file__}")
        self.assertIn("the key or certificate in its files is not valid PEM", message)

    def test_a_missing_socket_of_systemd_names_the_unit(self) -> None:
        """A socket of systemd's that is not there sends the reader to the socket unit."""
        for text in ("systemd:domain=INET:index=7", "systemd:domain=INET:name=web"):
            self.assertIn("systemd has passed no such socket", self.refused(text))


class OpenTests(SynchronousTestCase):
    """When the port is opened."""

    def refused(self, endpoint: str, number: int) -> str:
        """What is said of an endpoint that the system refuses."""

        class Refusing:
            def listen(self, *where: Any, **more: Any) -> None:
                raise CannotListenError(None, where[0], OSError(number, "Refused"))

            listenTCP = listen  # noqa: N815

        with self.assertRaises(ConfigurationError) as caught:
            open_port(Refusing(), endpoint, Factory())
        return str(caught.exception)

    def test_a_missing_permission_says_what_to_do(self) -> None:
        """A low port needs root, the file of a socket a folder that can be written."""
        message = self.refused("tcp:80", errno.EACCES)
        self.assertIn("cannot listen at tcp:80: Refused; ports below 1024 need root", message)

        def refuse(*words: object) -> None:
            raise OSError(errno.EACCES, "Refused")

        self.patch(unix_port, "_bind", refuse)
        message = self.refused(f"unix:{self.mktemp()}", errno.EACCES)
        self.assertIn("its directory must be writable", message)
        self.assertNotIn("1024", message)

    def test_a_port_in_use_is_reported(self) -> None:
        """A port that is in use is reported as such."""
        message = self.refused("tcp:80", errno.EADDRINUSE)
        self.assertIn("; stop the process that listens there, or choose another port", message)
