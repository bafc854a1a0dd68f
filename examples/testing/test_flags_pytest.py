"""With pytest: the whole program, against a server in a thread of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from zkservice.testing import ThreadedZooKeeper

PROGRAM = Path(__file__).with_name("flags.py")


@pytest.fixture
def zookeeper():
    with ThreadedZooKeeper() as zookeeper:
        yield zookeeper


@pytest.fixture
def operator(zookeeper):
    """A client of another library, as an operator might use."""
    client = KazooClient(zookeeper.connection_string)
    client.start()
    yield client
    client.stop()
    client.close()


def run(zookeeper):
    command = [sys.executable, str(PROGRAM), zookeeper.connection_string]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_it_prints_the_flags(zookeeper, operator):
    operator.create("/shop/flags", b'{"new-cart": true}', makepath=True)
    assert run(zookeeper).stdout == '{"new-cart": true}\n'


def test_without_flags_it_prints_none(zookeeper):
    assert run(zookeeper).stdout == "{}\n"


def test_a_zookeeper_that_is_away_is_an_error(zookeeper):
    zookeeper.refuse = True
    done = run(zookeeper)
    assert done.returncode == 1
    assert "ConnectTimeoutError" in done.stderr
