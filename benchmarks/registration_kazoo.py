"""Keep a znode registered as programs with kazoo do: a listener, and a thread.

    python benchmarks/registration_kazoo.py HOSTS PARENT

Its settings are kazoo's own.
"""

import contextlib
import os
import signal
import sys
import threading

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import NodeExistsError

hosts, parent = sys.argv[1:]
node = f"{parent}/process-{os.getpid()}"
client = KazooClient(hosts)
lost = threading.Event()  # the session has expired
work = threading.Event()  # there is something to create, and a connection
over = threading.Event()


def listen(state: str) -> None:
    """Follow the state of the connection; no call to ZooKeeper may be made in here."""
    if state == KazooState.LOST:
        lost.set()
    elif state == KazooState.CONNECTED and lost.is_set():
        lost.clear()
        work.set()


def keep() -> None:
    """Create the znode whenever there is a new session."""
    while True:
        work.wait()
        work.clear()
        with contextlib.suppress(NodeExistsError):
            client.retry(client.create, node, b"{}", ephemeral=True, makepath=True)


client.add_listener(listen)
threading.Thread(target=keep, daemon=True).start()
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: over.set())
client.start()
work.set()
over.wait()
client.stop()
client.close()
