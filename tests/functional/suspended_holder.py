"""A program that holds a lock, and is suspended in the middle of its work.

    python -m tests.functional.suspended_holder HOST:PORT PATH

It prints ``held`` and then works without giving the reactor a turn, until it finds that it was
suspended; then it prints what it knows of its lease at that moment.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from twisted.internet.task import react

from zkservice.client import ZooKeeperClient
from zkservice.errors import LeaseLostError
from zkservice.recipes import Lock

#: Seconds; a busy machine does not suspend a process for so long.
JUMP = 4.0


def work(last: float) -> None:
    """Until we were suspended, be it right after this moment."""
    while (now := time.monotonic()) - last < JUMP:
        last = now
        time.sleep(0.01)


async def main(reactor: Any, hosts: str, path: str) -> None:
    """Hold it, and tell what the lease says."""
    client = await ZooKeeperClient(hosts, 4.0).connect(60.0)
    lease = await Lock(client, path).acquire()
    try:
        async with lease:
            began = time.monotonic()
            print("held", lease.certain, flush=True)
            work(began)
            print("certain" if lease.certain else "not certain", flush=True)
    except LeaseLostError:
        print("lost", flush=True)
    await client.close()


if __name__ == "__main__":
    react(main, sys.argv[1:])
