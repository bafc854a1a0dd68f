"""Tests for `zkservice.formats`: the bytes that others read, and what is made of theirs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from uuid import UUID

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests import effort
from zkservice.errors import FormatError
from zkservice.formats import FORMATS, Announcement, Member, read_member
from zkservice.formats.addresses import format_address
from zkservice.properties import encode

NOW = 1_795_269_515_099
ONE = Announcement("/svc/web", "10.0.0.1:8080", {}, NOW)
#: What `JsonInstanceSerializer` of Curator 5.4 wrote for a service without and with TLS.
CURATOR = (
    b'{"name":"web","id":"%s","address":"10.0.0.1","port":8080,"sslPort":null,"payload":null,'
    b'"registrationTimeUTC":1795269515099,"serviceType":"DYNAMIC","uriSpec":null}'
)
CURATOR_TLS = CURATOR.replace(b"8080", b"8443").replace(b'"sslPort":null', b'"sslPort":8443')
#: What Curator 5.7 wrote for Spring Cloud Zookeeper.
SPRING = (
    b'{"name":"web","id":"%s","address":"10.0.0.1","port":8080,"sslPort":null,"payload":'
    b'{"@class":"org.springframework.cloud.zookeeper.discovery.ZookeeperInstance","id":"web",'
    b'"name":"web","metadata":{"instance_status":"UP"}},"registrationTimeUTC":1795269515099,'
    b'"serviceType":"DYNAMIC","uriSpec":{"parts":[{"value":"scheme","variable":true},'
    b'{"value":"://","variable":false},{"value":"address","variable":true},'
    b'{"value":":","variable":false},{"value":"port","variable":true}]}}'
)
#: What ServerSetImpl's JSON codec writes.
SERVERSET = (
    b'{"serviceEndpoint":{"host":"10.0.0.1","port":8080},"additionalEndpoints":'
    b'{"http":{"host":"10.0.0.1","port":8080}},"status":"ALIVE","shard":0}'
)
#: What nerve's reporter writes.
NERVE = b'{"host":"10.0.0.1","port":8080,"name":"10.0.0.1:8080","weight":10}'

hosts = st.one_of(
    st.ip_addresses().map(str).filter(lambda text: "%" not in text),
    st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{1,5}){0,2}", fullmatch=True),
)
addresses = st.builds(format_address, hosts, st.integers(1, 65535))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
properties = st.dictionaries(st.text(max_size=6), json_values, max_size=4)
announcements = st.builds(
    Announcement,
    st.just("/svc/web"),
    addresses,
    properties,
    st.just(NOW),
    st.booleans(),
    st.booleans(),
)
# Members that readers look at, with values of all kinds.
traps = st.dictionaries(
    st.sampled_from(
        [
            *("host", "port", "name", "id", "address", "sslPort", "payload", "serviceType"),
            *("enabled", "status", "serviceEndpoint", "additionalEndpoints", "shard"),
            *("weight", "labels"),
        ]
    ),
    json_values
    | st.fixed_dictionaries({"host": json_values, "port": json_values})
    | st.fixed_dictionaries({"@class": json_values, "metadata": json_values}),
)


def write(name: str, one: Announcement) -> tuple[str, bytes]:
    """The znode of an announcement."""
    form = FORMATS[name]
    return form.znode_name(one), form.data(one)


class WritingTests(SynchronousTestCase):
    """Each format's name and data, as the original writers have them."""

    def test_properties_node_is_that_of_zc_zk(self) -> None:
        """zc.zk: the address as the name, compact JSON as the data."""
        one = replace(ONE, properties={"pid": 7, "color": "blue"})
        self.assertEqual(write("properties", one), ("10.0.0.1:8080", b'{"color":"blue","pid":7}'))

    def test_serverset_data_are_those_of_server_set_impl(self) -> None:
        """The bytes are those of ServerSetImpl."""
        self.assertEqual(write("serverset", replace(ONE, properties={"shard": 0}))[1], SERVERSET)

    def test_serverset_name_holds_the_ipv4_address(self) -> None:
        """The number of a member holds address and port."""
        self.assertEqual(write("serverset", ONE)[0], f"member_{(10 << 24 | 1) << 16 | 8080}")
        small = replace(ONE, address="0.0.0.1:1")
        self.assertEqual(write("serverset", small)[0], "member_0000065537")

    @given(addresses)
    def test_serverset_names_are_numbers(self, address: str) -> None:
        """Every name fits Java's pattern, its number a Java long, and is stable."""
        name = write("serverset", replace(ONE, address=address))[0]
        self.assertRegex(name, re.compile("^member_-?[0-9]+$"))
        self.assertLess(int(name[len("member_") :]), 2**63)
        self.assertEqual(name, write("serverset", replace(ONE, address=address, tls=True))[0])

    @given(st.sets(addresses, min_size=2, max_size=20))
    def test_different_addresses_have_different_names(self, some: set[str]) -> None:
        """Two addresses have two names, in every format."""
        for name in FORMATS:
            names = {write(name, replace(ONE, address=address))[0] for address in some}
            self.assertEqual(len(names), len(some), name)

    def test_serverset_has_monitor_as_endpoint_and_integer_shard(self) -> None:
        """A monitor's address is an endpoint, a socket's path is not; a shard is an integer."""
        for monitor, expected in {
            "h:1": {"host": "h", "port": 1},
            "/run/m": None,
            "x": None,
        }.items():
            one = replace(ONE, properties={"monitor": monitor, "shard": True})
            member = json.loads(write("serverset", one)[1])
            self.assertEqual(member["additionalEndpoints"].get("monitor"), expected)
            self.assertNotIn("shard", member)

    def test_serverset_has_no_http_endpoint_for_tls(self) -> None:
        """A TLS listener has no endpoint that would be taken for plain HTTP."""
        member = json.loads(write("serverset", replace(ONE, tls=True))[1])
        self.assertEqual(list(member["additionalEndpoints"]), ["https"])

    def test_curator_data_are_those_of_curator(self) -> None:
        """The bytes are Curator's; properties do not get into the payload."""
        name, data = write("curator", replace(ONE, properties={"pid": 7}))
        self.assertEqual(data, CURATOR % str(UUID(name)).encode())

    def test_curator_has_ssl_port_for_tls(self) -> None:
        """A TLS listener has its port as sslPort too."""
        name, data = write("curator", replace(ONE, address="10.0.0.1:8443", tls=True))
        self.assertEqual(data, CURATOR_TLS % name.encode())

    def test_instance_ids_are_stable_and_differ_by_service(self) -> None:
        """An address keeps its id, in Spring's format too; another service's has another."""
        name = write("curator", ONE)[0]
        self.assertEqual(name, write("spring", replace(ONE, properties={"a": 1}))[0])
        self.assertNotEqual(name, write("curator", replace(ONE, service="/svc/db"))[0])

    def test_spring_data_are_those_of_curator_for_spring(self) -> None:
        """The bytes are Curator's for Spring."""
        name, data = write("spring", ONE)
        self.assertEqual(data, SPRING % name.encode())

    def test_states_are_those_of_the_original_writers(self) -> None:
        """A format with a state changes nothing but its state; the others have no znode then."""
        gone = replace(ONE, available=False, properties={"shard": 0})
        self.assertEqual(write("serverset", gone)[1], SERVERSET.replace(b'"ALIVE"', b'"STOPPING"'))
        name, data = write("spring", replace(ONE, available=False))
        self.assertEqual(data, SPRING.replace(b'"UP"', b'"OUT_OF_SERVICE"') % name.encode())
        states = {name: {state.name for state in FORMATS[name].states} for name in FORMATS}
        self.assertEqual(
            {name: found for name, found in states.items() if found},
            {"serverset": {"STOPPING"}, "spring": {"OUT", "STOPPING"}},
        )

    def test_spring_metadata_are_strings(self) -> None:
        """Metadata are strings; an instance that is about to go is out of service."""
        one = replace(ONE, properties={"pid": 7, "zone": "a"}, available=False)
        payload = json.loads(write("spring", one)[1])["payload"]
        self.assertEqual(
            payload["metadata"], {"pid": "7", "zone": "a", "instance_status": "OUT_OF_SERVICE"}
        )

    def test_nerve_data_are_those_of_nerve(self) -> None:
        """The bytes are nerve's; the name is an instance id and a sequence number."""
        one = replace(ONE, properties={"weight": 10})
        self.assertEqual(write("nerve", one), ("10.0.0.1:8080_0", NERVE))

    def test_nerve_labels_are_strings(self) -> None:
        """Other properties are labels, which are strings; a weight is an integer."""
        properties = {"pid": 7, "weight": 0.5, "haproxy_server_options": "check"}
        entry = json.loads(write("nerve", replace(ONE, properties=properties))[1])
        self.assertEqual(entry["labels"], {"pid": "7", "weight": "0.5"})
        self.assertEqual(entry["haproxy_server_options"], "check")
        self.assertNotIn("weight", entry)


class ReadingTests(SynchronousTestCase):
    """What is made of znodes, ours and others'."""

    def refuse(self, name: str, data: object, *expected: str) -> None:
        """A znode that is not a member, and words of the error."""
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        with self.assertRaises(FormatError) as caught:
            read_member(name, raw)
        for words in (name, *expected):
            self.assertIn(words, str(caught.exception))

    @given(announcements, st.sampled_from(sorted(FORMATS)))
    def test_written_members_are_recognised(self, one: Announcement, name: str) -> None:
        """What is written in a format is recognised, with its address and its status."""
        member = read_member(*write(name, one))
        self.assertEqual(
            (member.format, member.address), (name, format_address(one.host, one.port))
        )
        if name in ("serverset", "curator", "spring"):
            self.assertEqual(member.tls, one.tls)
        if name in ("serverset", "spring"):
            self.assertEqual(member.available, one.available)

    @given(properties)
    def test_properties_come_back(self, some: dict[str, Any]) -> None:
        """zc.zk's format keeps all properties; Spring's and nerve's keep them as strings."""
        one = replace(ONE, properties=some)
        self.assertEqual(encode(read_member(*write("properties", one)).properties), encode(some))
        for name in ("spring", "nerve"):
            read = dict(read_member(*write(name, one)).properties)
            self.assertEqual(read.keys() - {"instance_status"}, some.keys() - {"instance_status"})

    def test_serverset_endpoints_are_read_as_properties(self) -> None:
        """Additional endpoints and the shard are properties."""
        one = replace(ONE, properties={"monitor": "h:1", "shard": 3, "lost": 1})
        member = read_member(*write("serverset", one))
        self.assertEqual(member.properties, {"monitor": "h:1", "shard": 3})

    def test_names_of_other_writers_are_read(self) -> None:
        """Contents decide the format: sequential members and nerve's sequences are read too."""
        for name, data, expected in (
            ("member_0000000012", SERVERSET, "serverset"),
            ("member_127.0.0.1:8080", SERVERSET, "serverset"),
            ("anything", CURATOR, "curator"),
            ("10.0.0.9:1", SPRING, "spring"),
            ("i-1_0000000003", NERVE, "nerve"),
        ):
            member = read_member(name, data)
            self.assertEqual((member.format, member.address), (expected, "10.0.0.1:8080"))

    def test_properties_called_host_and_port_do_not_hide_the_address(self) -> None:
        """A name that is an address is the address, whatever the properties are called."""
        data = json.dumps({"host": "db", "port": 5432}).encode()
        self.assertEqual(read_member("10.0.0.1:8080", data).address, "10.0.0.1:8080")

    def test_an_address_with_invalid_json_is_a_member(self) -> None:
        """The address counts, whatever else is there."""
        for data in (b"", b"text", b"{broken", b"\xff\xfe", b"[1]", None):
            self.assertEqual(read_member("[::1]:80", data).address, "[::1]:80")

    def test_spring_tls_port_is_preferred(self) -> None:
        """Where Spring has a TLS port, that is the port."""
        data = SPRING.replace(b'"sslPort":null', b'"sslPort":8443')
        member = read_member("i", data)
        self.assertEqual((member.address, member.tls), ("10.0.0.1:8443", True))

    def test_unavailable_members_are_marked(self) -> None:
        """Members that must not be used any more are not available."""
        for data in (
            SERVERSET.replace(b"ALIVE", b"STOPPING"),
            SERVERSET.replace(b"ALIVE", b"DEAD"),
            SPRING.replace(b"UP", b"OUT_OF_SERVICE"),
            CURATOR.replace(b'"payload"', b'"enabled":false,"payload"'),
        ):
            self.assertFalse(read_member("x", data).available)

    def test_invalid_weights_are_ignored(self) -> None:
        """A weight is a number of 0 or more, in whatever way the format writes it."""
        for weight, expected in {
            10: 10.0,
            0.5: 0.5,
            "3": 3.0,
            -1: 1.0,
            "x": 1.0,
            True: 1.0,
        }.items():
            self.assertEqual(Member("nerve", "h", 1, {"weight": weight}).weight, expected)
        self.assertEqual(Member("nerve", "h", 1).weight, 1.0)

    def test_only_expected_formats_are_read(self) -> None:
        """Members of formats that the reader does not expect are refused."""
        with self.assertRaises(FormatError) as caught:
            read_member("member_1", SERVERSET, ["properties", "nerve"])
        self.assertIn("(properties, nerve)", str(caught.exception))

    def test_other_nodes_are_refused_with_the_expected_formats(self) -> None:
        """A node that is not a member is an error, with the formats that were expected."""
        for name in ("leader", "member_7", "", "host:", ":0x1", "a/b:1"):
            self.refuse(name, {"threads": 1}, "known format")

    def test_invalid_host_or_port_is_named(self) -> None:
        """A member with a broken host or port is an error that says which."""
        for port in (None, "80", 0, 65536, 80.0, True, -1):
            self.refuse("m", {"serviceEndpoint": {"host": "h", "port": port}}, "port")
            self.refuse("m", {"host": "h", "port": port}, "port")
        for host in (None, "", "a b", "a/b", "h\n", 7, "x" * 256, "\ud800"):
            self.refuse("m", {"serviceEndpoint": {"host": host, "port": 1}}, "host")
        self.refuse("m", {"serviceEndpoint": {"host": "h", "port": 1}, "status": 1}, "status")
        self.refuse("h:0", {}, "port")
        self.refuse(":80", {}, "host")
        self.refuse("i", CURATOR.replace(b"8080", b"null"), "port")
        self.refuse("i", CURATOR.replace(b'"payload"', b'"enabled":1,"payload"'), "enabled")

    @settings(max_examples=effort(100, 20))
    @given(st.text(max_size=20) | addresses, st.binary(max_size=60) | traps.map(encode))
    @example("m", b'{"serviceEndpoint":{"host":"h","port":' + b"9" * 5000 + b"}}")
    @example("m", b"[" * 100_000)
    @example("m", b'{"host":' + b"[" * 5_000)
    def test_nothing_else_escapes(self, name: str, data: bytes) -> None:
        """Any znode is a member that a client could use, or a FormatError."""
        try:
            member = read_member(name, data)
        except FormatError:
            return
        self.assertTrue(0 < member.port < 65536 and member.host)
        self.assertGreaterEqual(member.weight, 0)
