"""Tests for `zkservice.service.options.serve_options`."""

from __future__ import annotations

import os

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from zkservice.service.config import Config, ListenAddress, ZooKeeperTarget
from zkservice.service.options.read_config import CONNECTION_STRING
from zkservice.service.options.serve_options import Options
from zkservice.web import Limits


class OptionsTests(SynchronousTestCase):
    """From words to a `Config`."""

    def setUp(self) -> None:
        """No connection string in the environment."""
        self.patch(os, "environ", {k: v for k, v in os.environ.items() if k != CONNECTION_STRING})

    def parse(self, *words: str) -> Config:
        """What a command line means."""
        options = Options()
        options.parseOptions([*words, "m:app"])
        return options.config

    def refused(self, *words: str) -> str:
        """Why a command line is refused."""
        with self.assertRaises(UsageError) as caught:
            self.parse("--path", "/svc", *words)
        return str(caught.exception)

    def test_an_unknown_option_suggests_the_nearest(self) -> None:
        """As an unknown key of the file does."""
        message = self.refused("--zookeper", "h:1", "app.wsgi")
        self.assertEqual(message, "option --zookeper not recognized; did you mean 'zookeeper'?")
        self.assertEqual(self.refused("--xyz", "app.wsgi"), "option --xyz not recognized")

    def test_options_of_gunicorn_have_a_place(self) -> None:
        """Those with another name here say what it is."""
        for words, expected in (
            (("--workers", "4"), "option --workers not recognized; write --processes"),
            (("--bind", ":80"), "option --bind not recognized; write --host and --port"),
            (("--user=www-data",), "option --user not recognized; write twistd's --uid before"),
        ):
            self.assertIn(expected, self.refused(*words))

    def test_defaults_need_no_option(self) -> None:
        """All addresses, a port of the system's, ten seconds, the embedded ZooKeeper."""
        self.assertEqual(
            self.parse("--path", "/svc/providers"),
            Config(
                application="m:app",
                path="/svc/providers",
                zookeeper=ZooKeeperTarget(None, assumed=True),
                listen=(ListenAddress("tcp:0", ""),),
                threads=4,
                session_timeout=10.0,
            ),
        )

    def test_milliseconds_become_seconds(self) -> None:
        """Times are milliseconds here and seconds behind."""
        config = self.parse(
            "--path", "/p", "--session-timeout", "1500", "--drain-wait", "1", "--drain-timeout", "0"
        )
        self.assertEqual(
            (config.session_timeout, config.drain_wait, config.drain_timeout), (1.5, 0.001, 0.0)
        )

    def test_properties_are_strings_or_json(self) -> None:
        """A value is a string as it stands, or any JSON behind ``:=``."""
        config = self.parse(
            "--path", "/p", "--property", "v=1.10", "--property", "w:=[1, 2]", "--property", "u=a=b"
        )
        self.assertEqual(config.properties, {"v": "1.10", "w": [1, 2], "u": "a=b"})

    def test_zookeeper_may_be_servers_or_embedded(self) -> None:
        """Servers, the embedded one, and the embedded one with a folder."""
        for given, expected in {
            "h1:1,h2/ch": ZooKeeperTarget("h1:1,h2/ch"),
            "embedded": ZooKeeperTarget(None),
            "embedded:data": ZooKeeperTarget(None, os.path.abspath("data")),
        }.items():
            self.assertEqual(self.parse("--path", "/p", "-z", given).zookeeper, expected)

    def test_the_environment_is_used_without_an_option(self) -> None:
        """zc.zk's environment variable counts unless an option is given."""
        os.environ[CONNECTION_STRING] = "h:1"
        self.assertEqual(self.parse("--path", "/p").zookeeper, ZooKeeperTarget("h:1"))
        self.assertEqual(self.parse("--path", "/p", "-z", "i:2").zookeeper, ZooKeeperTarget("i:2"))

    def test_host_and_port(self) -> None:
        """A host is listened on and registered as it is written, IPv6 too."""
        config = self.parse("--path", "/p", "--host", "::1", "--port", "80")
        self.assertEqual(config.listen, (ListenAddress("tcp:80:interface=\\:\\:1", "::1"),))

    def test_endpoints_replace_host_and_port(self) -> None:
        """Endpoints, several, instead of host and port."""
        config = self.parse("--path", "/p", "--listen", "tcp:1", "--listen", "unix:/tmp/s")
        self.assertEqual(config.listen, (ListenAddress("tcp:1"), ListenAddress("unix:/tmp/s")))

    def test_every_limit_is_an_option(self) -> None:
        """Every limit of the front end is an option; times are milliseconds."""
        config = self.parse("--path", "/p", "--head-timeout", "1500", "--head-bytes", "4096")
        self.assertEqual(config.front_end.limits, Limits(head_timeout=1.5, head_bytes=4096))
        self.assertEqual(
            self.refused("--keep-alive", "-1"), "--keep-alive must be at least 0, not -1"
        )

    def test_limit_names_each_limit(self) -> None:
        """``--limit`` takes what the options of old take, and wins over them."""
        config = self.parse(
            *("--path", "/p", "--limit", "head-timeout=1500", "--limit", "head-bytes=4096"),
            *("--head-bytes", "1"),
        )
        self.assertEqual(config.front_end.limits, Limits(head_timeout=1.5, head_bytes=4096))

    def test_an_invalid_limit_is_named(self) -> None:
        """An unknown name is answered with those there are; a value with what it must be."""
        self.assertIn("the names are target-bytes, ", self.refused("--limit", "x=1"))
        self.assertIn("write NAME=VALUE", self.refused("--limit", "head-bytes"))
        self.assertEqual(
            self.refused("--limit", "head-bytes=many"),
            "--limit: head-bytes must be a whole number, not 'many'",
        )
        self.assertIn("no request could be served", self.refused("--limit", "head-bytes=0"))

    def test_invalid_values_say_what_to_do(self) -> None:
        """What is wrong is named, and what to do instead."""
        for words, expected in {
            ("--threads", "0"): "--threads must be at least 1",
            ("--session-timeout", "0"): "--session-timeout must be at least 1",
            ("--drain-wait", "-1"): "--drain-wait must be at least 0, not -1",
            ("--port", "65536"): "--port must be at most 65535, not 65536",
            ("--zookeeper", "h:x"): "--zookeeper: the port of 'h:x'",
            ("--zookeeper", "embedded:"): "--zookeeper embedded: needs a directory",
            ("--property", "x"): "write NAME=VALUE",
            ("--view", "/v=a.b", "--view", "/v=c.d"): "--view '/v=c.d': /v is a.b already",
            ("--view", "/a b=c.d"): "no request's path has a blank",
            ("--view", "/a?b=c.d"): "no request's path has a blank, '?' or '#'",
            ("--property", "x:={"): "the value is invalid JSON",
            ("--listen", "tpc:80"): "Unknown endpoint type",
            ("--listen", f"ssl:443:privateKey={__file__}"): "is not valid PEM",
            ("--listen", "tcp:1", "--port", "2"): "give either --listen, or --host and --port",
            ("--monitor", "nowhere"): "--monitor: 'nowhere' is not an address",
            ("--advertise", "x"): "--advertise: 'x' is not an address",
            ("--advertise", ":80"): "name a host and a port",
            ("--advertise", "a/b:80"): "is not an address",
            ("--health", "/a b"): "--health must be an HTTP path",
            ("--session-timeout", "99999999999"): "--session-timeout must be at most 2147483647",
            ("--path", "svc"): "--path: 'svc' is not a valid znode path",
            ("--proxy-hops", "0"): "--proxy-hops must be at least 1, not 0",
            ("--zookeeper-auth", "digest:/no/such"): "--zookeeper-auth: /no/such cannot be read",
            ("--zookeeper-sasl", "/no/such"): "--zookeeper-sasl: /no/such cannot be read",
            ("--acl", "me"): "--acl: 'me' is not an ACL entry",
            (
                *("--zookeeper-tls", "--zookeeper-ca", "/no/such"),
            ): "--zookeeper-tls: /no/such cannot be read",
        }.items():
            self.assertIn(expected, self.refused(*words))

    def test_path_is_needed(self) -> None:
        """Without a path there is nothing to register."""
        with self.assertRaises(UsageError) as caught:
            self.parse()
        self.assertIn("--path is missing", str(caught.exception))
