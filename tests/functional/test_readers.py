"""The programs that the formats are for, reading what a real ``twistd zkserve`` registers.

Prometheus and Curator are Debian's packages, twitter.common.zookeeper is PyPI's (installed
with ``--no-deps``); what is not installed is skipped.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import patch

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.certificates import Authority
from tests.functional.processes import (
    TIMEOUT,
    EmbeddedProcess,
    Twistd,
    fetch,
    free_port,
    started_kazoo,
    told,
    wait_for,
)
from zkservice.formats import FORMATS, Announcement
from zkservice.testing.apache import JAVA_FOLDER

HERE = Path(__file__).parent
APPLICATION = str(HERE.parent.parent / "examples" / "flask_app.py")
JARS = (
    *("curator-x-discovery", "curator-recipes", "curator-framework", "curator-client"),
    *("jackson-core", "jackson-databind", "jackson-annotations", "guava"),
    *("zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-nop"),
)
#: In Spring's package, since Jackson writes the name of a class of that.
READER = "org.springframework.cloud.zookeeper.discovery.CuratorReader"

PROMETHEUS = """
scrape_configs:
- job_name: serverset
  metrics_path: /-/metrics
  scrape_interval: 1s
  serverset_sd_configs: [{servers: ["%(hosts)s"], paths: [/svc]}]
  relabel_configs:
  - {source_labels: [__meta_serverset_endpoint_host], regex: .+, action: keep}
  - {source_labels: [__meta_serverset_path], regex: /svc/(.+)/member_.*, target_label: service}
- job_name: nerve
  metrics_path: /-/metrics
  scrape_interval: 1s
  nerve_sd_configs: [{servers: ["%(hosts)s"], paths: [/svc/nerve]}]
  relabel_configs:
  - {source_labels: [__meta_nerve_endpoint_host], regex: .+, action: keep}
"""


class ReaderTestCase(SynchronousTestCase):
    """A ZooKeeper, and services in it."""

    def setUp(self) -> None:
        """The embedded server as a process."""
        self.folder = os.path.abspath(self.mktemp())
        self.zookeeper = EmbeddedProcess(os.path.join(self.folder, "zookeeper"))
        self.addCleanup(self.zookeeper.stop)
        self.zookeeper.start()
        self.hosts = self.zookeeper.connection_string

    def serve(self, path: str, *words: str) -> str:
        """Serve on loopback and register; the address."""
        return self.serve_at(path, "--host", "127.0.0.1", *words)

    def serve_at(self, path: str, *words: str) -> str:
        """Serve where the options say, and register; the address."""
        process = Twistd(
            os.path.join(self.folder, path.strip("/").replace("/", "-")),
            "zkserve",
            *("--zookeeper", self.hosts, "--path", path, *words),
            APPLICATION,
        )
        self.addCleanup(process.end)
        return process.wait_for_log(r"Serving on (\S+)").group(1)


class PrometheusTests(ReaderTestCase):
    """Prometheus's own discovery and scraper."""

    if shutil.which("prometheus") is None:
        skip = "Prometheus is not installed"

    def test_prometheus_finds_one_target_for_each_service(self) -> None:
        """Each service in its format is one target that is up; nothing else is a target."""
        kazoo = started_kazoo(self, self.hosts)
        kazoo.create("/svc", b'{"threads":1}')
        web = self.serve("/svc/web", "--metrics", "--format", "serverset")
        nerve = self.serve("/svc/nerve", "--metrics", "--format", "nerve")
        self.serve("/svc/plain")
        address = self.prometheus()

        expected = {
            ("serverset", f"http://{web}/-/metrics"): "up",
            ("nerve", f"http://{nerve}/-/metrics"): "up",
        }

        def all_up() -> bool:
            """On a busy machine a target may be down for a moment."""
            status, body = fetch(address, "/api/v1/targets")
            targets = json.loads(body)["data"]["activeTargets"] if status == 200 else []
            found = {(one["scrapePool"], one["scrapeUrl"]): one["health"] for one in targets}
            return found == expected

        wait_for("Prometheus has these two targets", all_up, pause=0.2)

    def prometheus(self) -> str:
        """Start it; the address of its API."""
        address = f"127.0.0.1:{free_port()}"
        configuration = os.path.join(self.folder, "prometheus.yml")
        Path(configuration).write_text(PROMETHEUS % {"hosts": self.hosts})
        log = open(os.path.join(self.folder, "prometheus.log"), "wb")  # noqa: SIM115
        self.addCleanup(log.close)
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={configuration}",
                f"--storage.tsdb.path={self.folder}/data",
                f"--web.listen-address={address}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self.folder,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        wait_for("Prometheus answers", lambda: _answers(address))
        return address


class DrainTests(ReaderTestCase):
    """What readers see while a process stops."""

    def test_serverset_says_stopping_then_goes(self) -> None:
        """STOPPING, then no znode; the server accepts connections for a while after both."""
        process = Twistd(
            os.path.join(self.folder, "serve"),
            *("zkserve", "--zookeeper", self.hosts, "--path", "/svc/web", "--host", "127.0.0.1"),
            *("--format", "serverset", "--drain-wait", "5000"),
            APPLICATION,
        )
        self.addCleanup(process.end)
        address = process.wait_for_log(r"Serving on (\S+)").group(1)
        kazoo = started_kazoo(self, self.hosts)
        seen: list[str] = []

        def look(event: object = None) -> None:
            names = kazoo.get_children("/svc/web", watch=look)
            read = [json.loads(kazoo.get(f"/svc/web/{name}", watch=look)[0]) for name in names]
            seen.append(" ".join(one["status"] for one in read))

        look()
        process.signal(signal.SIGTERM)
        wait_for("it says that it stops", lambda: "STOPPING" in seen)
        self.assertEqual(fetch(address)[0], 200)
        wait_for("the znode is gone", lambda: seen[-1] == "")
        self.assertEqual(fetch(address)[0], 200)
        process.signal(signal.SIGTERM)  # it need not wait any longer
        self.assertEqual(process.wait(), 0)
        self.assertEqual(list(dict.fromkeys(seen)), ["ALIVE", "STOPPING", ""])


class CuratorTests(ReaderTestCase):
    """Curator's ServiceDiscovery, with five types of payload."""

    if shutil.which("javac") is None or not (JAVA_FOLDER / "curator-x-discovery.jar").exists():
        skip = "Curator's jars or a Java compiler are not installed"

    def read(self, name: str) -> dict[str, list[str]]:
        """What each type of payload reads of a service, without its name."""
        words = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        words += ["-cp", curator_reader(), READER]
        done = subprocess.run(
            [*words, self.hosts, "/services", name], capture_output=True, text=True, timeout=TIMEOUT
        )
        lines = [line.split() for line in done.stdout.splitlines() if line.startswith("type=")]
        self.assertEqual(len(lines), 5, done.stdout + done.stderr)
        return {line[0].removeprefix("type="): line[1:] for line in lines}

    def test_curator_reads_every_type_of_payload(self) -> None:
        """Every type of payload reads it."""
        host, port = self.serve("/services/web", "--format", "curator").split(":")
        expected = [host, port, "null", "true", "null"]
        self.assertEqual(
            self.read("web"),
            dict.fromkeys(["Void", "Object", "Map", "String", "ZookeeperInstance"], expected),
        )

    def test_spring_reads_metadata_and_makes_a_uri(self) -> None:
        """Spring's type reads its metadata and makes a URI of it."""
        words = ("--format", "spring", "--property", "zone=a")
        host, port = self.serve("/services/shop", *words).split(":")
        found = self.read("shop")["ZookeeperInstance"]
        self.assertEqual(found[:4], [host, port, "null", "true"])
        self.assertEqual(found[-1], f"http://{host}:{port}")
        payload = " ".join(found[4:-1])
        self.assertTrue(payload.startswith("shop/shop/{"), payload)
        for entry in ("zone=a", "instance_status=UP"):
            self.assertIn(entry, payload)

    def test_out_of_service(self) -> None:
        """What the operator takes out is still there, for Spring as out of service."""
        address = self.serve("/services/shop", "--format", "spring", "--monitor", ":0")
        kazoo = started_kazoo(self, self.hosts)
        (name,) = kazoo.get_children("/services/shop")
        metadata = json.loads(kazoo.get(f"/services/shop/{name}")[0])["payload"]["metadata"]
        self.assertEqual(told(metadata["monitor"], "out new disk"), "out: new disk\n")
        found = self.read("shop")["ZookeeperInstance"]
        self.assertEqual(":".join(found[:2]), address)
        self.assertIn("instance_status=OUT_OF_SERVICE", " ".join(found))
        self.assertEqual(fetch(address, "/")[0], 200)

    def test_a_tls_listener_is_the_secure_port(self) -> None:
        """The port of a TLS listener is the secure port, from which Spring makes an https URI."""
        certificate = Authority(self.folder).issue("localhost")
        address = self.serve_at(
            "/services/pay",
            *("--listen", f"ssl:0:interface=127.0.0.1:privateKey={certificate}"),
            *("--format", "spring"),
        )
        host, port = address.split(":")
        found = self.read("pay")["ZookeeperInstance"]
        self.assertEqual((found[:3], found[-1]), ([host, port, port], f"https://{address}"))


class TwitterCommonsTests(SynchronousTestCase):
    """The parsers of twitter.common.zookeeper 0.3.11, which reads Aurora's serversets."""

    #: What its modules import and these parsers do not need; some of it is for Python 2 only.
    STUBS: ClassVar[dict[str, Any]] = {
        "thrift.TSerialization": SimpleNamespace(deserialize=None),
        "gen.twitter.thrift.endpoint.ttypes": SimpleNamespace(Endpoint=None, ServiceInstance=None),
        "twitter.common.lang": SimpleNamespace(
            Compatibility=SimpleNamespace(string=str), Interface=object
        ),
        "twitter.common.concurrent": SimpleNamespace(Future=None),
    }

    def load(self, name: str) -> ModuleType:
        """One of its modules."""
        try:
            package = distribution("twitter.common.zookeeper")
        except PackageNotFoundError:
            raise SkipTest("twitter.common.zookeeper is not installed") from None
        where = str(package.locate_file(f"twitter/common/zookeeper/{name}.py"))
        spec = importlib.util.spec_from_file_location("loaded", where)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        with patch.dict(sys.modules, self.STUBS):
            spec.loader.exec_module(module)
        return module

    def test_members_have_a_number_and_an_instance(self) -> None:
        """Names have a number, which is written back alike, and data are an instance."""
        group = self.load("group/group_base").GroupBase
        instance = self.load("serverset/endpoint").ServiceInstance
        for address in ("10.0.0.1:8080", "0.0.0.1:1", "[2001:db8::1]:80", "web.example:443"):
            one = Announcement("/svc", address, {"shard": 2, "monitor": "h:1"}, 0)
            name = FORMATS["serverset"].znode_name(one)
            self.assertTrue(group.znode_owned(name))
            self.assertEqual(group.id_to_znode(group.znode_to_id(name)), name)
            read = instance.unpack_json(FORMATS["serverset"].data(one), group.znode_to_id(name))
            endpoint = read.service_endpoint
            self.assertEqual((endpoint.host, endpoint.port), (one.host, one.port))
            self.assertEqual((read.status.name(), read.shard), ("ALIVE", 2))
            self.assertEqual(sorted(read.additional_endpoints), ["http", "monitor"])
        leaving = Announcement("/svc", "h:1", {}, 0, available=False)
        read = instance.unpack_json(FORMATS["serverset"].data(leaving))
        self.assertEqual(read.status.name(), "STOPPING")


@cache
def curator_reader() -> str:
    """The class path of a CuratorReader that is compiled once."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    jars = os.pathsep.join(str(JAVA_FOLDER / f"{jar}.jar") for jar in JARS)
    source = str(HERE / "CuratorReader.java")
    subprocess.run(["javac", "-d", folder, "-cp", jars, source], check=True, timeout=3 * TIMEOUT)
    return f"{folder}{os.pathsep}{jars}"


def _answers(address: str) -> bool:
    try:
        return fetch(address, "/-/ready")[0] == 200
    except OSError:
        return False
