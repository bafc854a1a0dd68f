"""Tests for `zkservice.formats.consumers`: the bytes that proxies and Prometheus read."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.formats.test_formats import addresses, properties
from zkservice.errors import ConfigurationError, RenderError
from zkservice.formats import Member
from zkservice.formats.addresses import parse_address
from zkservice.formats.consumers import CONSUMERS, Consumer, Listing, sort_out, template
from zkservice.formats.consumers.model import safe_text, whole_weights

A = Member("properties", "10.0.0.1", 8080, {"weight": 3, "zone": "a"})
B = Member("properties", "10.0.0.2", 8080, {"weight": 1}, tls=True)
GOING = Member("serverset", "10.0.0.3", 8080, available=False)
V6 = Member("properties", "::1", 80)
NAMED = Member("properties", "db.example", 5432)

PROMETHEUS = """\
[
 {
  "targets": [
   "10.0.0.1:8080"
  ],
  "labels": {
   "service": "web",
   "__meta_zkservice_path": "/svc/web",
   "__meta_zkservice_available": "true",
   "__meta_zkservice_property_weight": "3",
   "__meta_zkservice_property_zone": "a"
  }
 },
 {
  "targets": [
   "10.0.0.2:8080"
  ],
  "labels": {
   "service": "web",
   "__meta_zkservice_path": "/svc/web",
   "__meta_zkservice_available": "true",
   "__scheme__": "https",
   "__meta_zkservice_property_weight": "1"
  }
 }
]
"""
HAPROXY = """\
backend web
    server 10.0.0.1:8080 10.0.0.1:8080 check weight 3
    server 10.0.0.2:8080 10.0.0.2:8080 ssl check weight 1
    server 10.0.0.3:8080 10.0.0.3:8080 check weight 0
    server ::1_80 [::1]:80 check weight 1
"""
NGINX = """\
server 10.0.0.1:8080 weight=3;
server 10.0.0.2:8080;
server [::1]:80;
"""
#: As the documentation of Envoy has it, but for the version.
ENVOY = (
    '{"version_info":"VERSION","resources":[{"@type":"type.googleapis.com/envoy.config.endpoint.v3.'
    'ClusterLoadAssignment","cluster_name":"web","endpoints":[{"lb_endpoints":[{"endpoint":'
    '{"address":{"socket_address":{"address":"10.0.0.1","port_value":8080}}},'
    '"health_status":"HEALTHY","load_balancing_weight":3},{"endpoint":{"address":'
    '{"socket_address":{"address":"10.0.0.3","port_value":8080}}},'
    '"health_status":"DRAINING","load_balancing_weight":1}]}]}]}'
)
TRAEFIK = (
    '{"http":{"services":{"web":{"loadBalancer":{"servers":[{"url":"http://10.0.0.1:8080",'
    '"weight":3},{"url":"https://10.0.0.2:8080","weight":1}]}}}}}'
)

#: Everything that ends a line, a word, a directive, a string or a comment somewhere.
HOSTILE = "\n\r\x0b\x00\u2028;{}\"'`$\\#|& \t()<>\x1b"
hostile_text = st.text(st.sampled_from(HOSTILE + "ab.:1"), max_size=12)
members = st.builds(
    Member,
    st.just("properties"),
    st.one_of(hostile_text, addresses.map(lambda text: parse_address(text)[0])),
    st.integers(1, 65535),
    st.dictionaries(hostile_text | st.just("zone"), hostile_text, max_size=3) | properties,
    st.booleans(),
    st.booleans(),
)


def render(name: str, *some: Member) -> str:
    """The text of one service, as a consumer gets it."""
    return made(CONSUMERS[name], *some)


def made(consumer: Consumer, *some: Member) -> str:
    """The text of a consumer."""
    listings, _ = sort_out(consumer, [Listing("web", "/svc/web", some)])
    return consumer.render(listings).decode()


def compact(text: str) -> str:
    """JSON without blanks."""
    return json.dumps(json.loads(text), separators=(",", ":"))


class GoldenTests(SynchronousTestCase):
    """The bytes of each format."""

    def test_prometheus_gets_a_target_group_for_each_member(self) -> None:
        """A target group for each member; TLS and properties are labels."""
        self.assertEqual(render("prometheus", B, A), PROMETHEUS)

    def test_haproxy_gets_a_backend(self) -> None:
        """A backend; a member that is about to stop has the weight of one that drains."""
        self.assertEqual(render("haproxy", A, B, GOING, V6), HAPROXY)

    def test_haproxy_starts_without_a_name_that_cannot_be_resolved(self) -> None:
        """That server alone is down; by default HAProxy refuses the whole file."""
        named = Member("properties", "web1.example", 80)
        self.assertIn(
            "server web1.example:80 web1.example:80 check weight 1 init-addr last,libc,none\n",
            render("haproxy", named, A),
        )

    def test_nginx_gets_lines_of_an_upstream(self) -> None:
        """Lines for an upstream."""
        self.assertEqual(render("nginx", A, B, GOING, V6), NGINX)

    def test_envoy_gets_a_versioned_load_assignment(self) -> None:
        """A load assignment, whose version changes with its contents only."""
        text = compact(render("envoy", A, GOING))
        version = json.loads(text)["version_info"]
        self.assertEqual(text, ENVOY.replace("VERSION", version))
        self.assertEqual(text, compact(render("envoy", GOING, A)))
        self.assertNotEqual(version, json.loads(render("envoy", A))["version_info"])

    def test_traefik_gets_a_load_balancer(self) -> None:
        """A load balancer; weights only where they differ."""
        self.assertEqual(compact(render("traefik", A, B, GOING)), TRAEFIK)
        self.assertNotIn("weight", render("traefik", V6))

    def test_json_has_all_that_is_known(self) -> None:
        """All that is known."""
        [service] = json.loads(render("json", B))
        self.assertEqual((service["service"], service["path"]), ("web", "/svc/web"))
        expected = {"address": "10.0.0.2:8080", "host": "10.0.0.2", "port": 8080, "tls": True}
        expected |= {"available": True, "weight": 1.0, "properties": {"weight": 1}}
        self.assertEqual(service["providers"], [expected])

    def test_a_service_without_members_is_valid_text(self) -> None:
        """A service without members is a valid text."""
        self.assertEqual(json.loads(render("prometheus")), [])
        self.assertEqual(render("haproxy"), "backend web\n")
        self.assertRegex(render("nginx"), r"^server 127\.0\.0\.1:9 down;.*\n$")
        self.assertEqual(json.loads(render("envoy"))["resources"][0]["endpoints"], [])
        for name in ("traefik", "json"):
            self.assertIn("web", render(name))

    def test_some_texts_have_several_services(self) -> None:
        """Texts that are not about a single service have all of them."""
        listings = [Listing("web", "/svc/web", (A,)), Listing("db", "/svc/db", (NAMED,))]
        for name, consumer in CONSUMERS.items():
            text = consumer.render(listings).decode()
            if not consumer.single:
                self.assertTrue("web" in text and "db" in text, name)


class SortingOutTests(SynchronousTestCase):
    """What a consumer cannot use is left out, and said."""

    def test_the_order_is_that_of_the_addresses(self) -> None:
        """So a file changes only when the members do."""
        for name in CONSUMERS:
            self.assertEqual(render(name, A, B, V6), render(name, V6, B, A))

    def test_an_address_stands_there_once(self) -> None:
        """HAProxy would not start with two servers of one name."""
        for name in CONSUMERS:
            self.assertEqual(render(name, A, B, A), render(name, A, B))

    def test_envoy_takes_ip_addresses_only(self) -> None:
        """One name would make Envoy refuse the whole list."""
        listings = [Listing("web", "/svc/web", (NAMED, V6))]
        kept, problems = sort_out(CONSUMERS["envoy"], listings)
        self.assertEqual(kept[0].members, (V6,))
        self.assertEqual(problems, {"db.example:5432": "the host must be an IP address"})
        self.assertEqual(sort_out(CONSUMERS["nginx"], listings)[1], {})

    def test_unsafe_hosts_are_left_out(self) -> None:
        """A host that is not one is left out everywhere."""
        for host in ("a;b", "a{", "-a", "a#", "fe80::1%eth0", "a\u200b", "x'", "$host", "é"):
            bad = Member("properties", host, 80)
            for name, consumer in CONSUMERS.items():
                kept, problems = sort_out(consumer, [Listing("web", "/svc/web", (bad, V6))])
                self.assertEqual((kept[0].members, list(problems)), ((V6,), [bad.address]), name)

    @given(st.lists(members, max_size=4))
    def test_nothing_injects_a_line(self, some: list[Member]) -> None:
        """Whatever is registered, each line is one of ours, and JSON stays JSON."""
        number = r"(\[[0-9a-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}"
        line = {
            "nginx": rf"server {number}( weight=\d+| down)?;(  # no provider is registered)?",
            "haproxy": rf"backend web|    server [\w.:-]+ {number}( ssl)? check weight \d+"
            r"( init-addr last,libc,none)?",
        }
        for name in CONSUMERS:
            text = render(name, *some)
            if name not in line:
                json.loads(text)
                continue
            for one in text.removesuffix("\n").split("\n"):
                self.assertTrue(re.fullmatch(line[name], one, re.ASCII), repr(one))

    @given(st.lists(members, max_size=4))
    def test_nothing_injects_a_line_into_a_template(self, some: list[Member]) -> None:
        """Properties come through a template as a word, or not at all."""
        row = "<$address ${property.zone}>\n"
        for name, text in (
            ("a.tmpl", row),
            (
                "a.j2",
                "{% for one in service.servers %}"
                "<{{ one.address }} {{ one.properties.zone|default('') }}>\n{% endfor %}",
            ),
        ):
            written = made(template(name, text), *some)
            for one in written.split("\n")[:-1]:
                self.assertTrue(re.fullmatch(r"<[\w.:\[\]-]+ [\w.:/@+,=~%-]*>", one, re.ASCII), one)


class WeightTests(SynchronousTestCase):
    """Weights as whole numbers."""

    def weights(self, highest: int, *given: Any) -> list[int]:
        """The whole numbers for some weights."""
        return whole_weights([Member("x", "h", 1, {"weight": one}) for one in given], highest)

    def test_whole_numbers_stay(self) -> None:
        """Numbers that fit are written as they are."""
        self.assertEqual(self.weights(256, 1, 3, 0, 256), [1, 3, 0, 256])

    def test_fractions_keep_their_proportion(self) -> None:
        """The largest becomes 100."""
        self.assertEqual(self.weights(256, 0.5, 1, 2), [25, 50, 100])
        self.assertEqual(self.weights(256, 1000, 1), [100, 1])

    def test_members_that_all_weigh_nothing_share_equally(self) -> None:
        """If all weights are 0, all providers get the same weight."""
        self.assertEqual(self.weights(256, 0, 0), [1, 1])
        self.assertEqual(self.weights(256), [])

    @given(st.lists(st.floats(0, 1e300), min_size=1, max_size=5), st.sampled_from([256, 65535]))
    def test_weights_are_within_the_readers_bounds(self, some: list[float], highest: int) -> None:
        """They are always within the reader's bounds, and 0 only where the weight is."""
        for weight, number in zip(some, self.weights(highest, *some), strict=True):
            self.assertTrue(0 <= number <= highest)
            self.assertTrue(number or not weight)


class TemplateTests(SynchronousTestCase):
    """Texts of one's own."""

    def test_lines_stand_once_for_each_server(self) -> None:
        """Only those lines that name something of a server do."""
        text = "# $service $path $count $$host\nserver $host:$port x=${property.zone} $weight\nend"
        self.assertEqual(
            made(template("t", text), A, B, GOING),
            "# web /svc/web 2 $host\nserver 10.0.0.1:8080 x=a 3\nserver 10.0.0.2:8080 x= 1\nend",
        )

    def test_each_service_has_the_whole_template(self) -> None:
        """Several services follow each other."""
        consumer = template("t", "[$service]\n$name $scheme\n")
        listings = [Listing("web", "/svc/web", (B,)), Listing("db", "/svc/db", (NAMED,))]
        self.assertEqual(
            consumer.render(listings), b"[web]\n10.0.0.2:8080 https\n[db]\ndb.example:5432 http\n"
        )

    def test_mistakes_are_found_at_the_start(self) -> None:
        """An unknown name and a bare dollar are refused with their line."""
        for text, expected in (
            ("\n$hots", "t, line 2: 'hots' is unknown; expected service"),
            ("cost: 5$", r"t, line 1: write \$\$"),
        ):
            with self.assertRaisesRegex(ConfigurationError, expected):
                template("t", text)
        with self.assertRaisesRegex(ConfigurationError, "t.j2, line 2"):
            template("t.j2", "\n{% for %}")

    def test_a_template_sees_services_and_servers(self) -> None:
        """A Jinja2 template sees services and servers; those that stop are apart."""
        text = (
            "{% for each in services %}\n{{ each.name }}: {% for one in each.servers %}"
            "{{ one.host }}/{{ one.properties.zone|default('-') }} {% endfor %}"
            "{{ each.stopping|length }}\n{% endfor %}\n"
        )
        self.assertEqual(
            made(template("t.j2", text), A, B, GOING), "web: 10.0.0.1/a 10.0.0.2/- 1\n"
        )

    def test_error_in_a_jinja_template(self) -> None:
        """What it raises is an error that names the file."""
        for text in ("{{ nobody.x }}", "{{ 1 // 0 }}"):
            with self.assertRaisesRegex(RenderError, "^t.j2: "):
                made(template("t.j2", text), A)

    def test_only_harmless_text_passes(self) -> None:
        """Words pass, whatever could be more does not."""
        self.assertEqual(
            [safe_text(one) for one in (True, 3, 0.5, "a/b-c")], ["true", "3", "0.5", "a/b-c"]
        )
        for bad in (None, [1], {"a": 1}, "a b", "a;", "a\n", "x" * 256, "é"):
            self.assertIsNone(safe_text(bad))
