"""Run jobs on several machines: ``jobs.py HOSTS work NAME``, ``jobs.py HOSTS put TEXT...``.

One worker is elected to plan: it puts a job into the queue every few seconds.  All of them take
jobs.  A job that fails is left in the queue; that of a worker that dies is taken by another one.
Jobs for the same customer never run at the same time: each takes the customer's lock.
"""

import signal
import sys

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import deferLater, react

from zkservice.client import ZooKeeperClient
from zkservice.errors import LeaseLostError, ZooKeeperError
from zkservice.recipes import Election, Lock, ReliableQueue

ROOT = "/jobs"
PLAN_EVERY = 2.0  # seconds


def say(*words):
    print(*words, flush=True)


async def plan(reactor, client, name):
    """Put a job into the queue now and then, while this worker is the leader."""
    queue = ReliableQueue(client, f"{ROOT}/queue")
    while True:
        lease = await Election(client, f"{ROOT}/planner", name).lead()
        say(name, "plans")
        while lease.held:
            # `certain` is False while the connection is broken: another one may lead by now.
            if lease.certain:
                try:
                    await queue.put(b"everybody: clean up")
                except ZooKeeperError as error:
                    say(name, "cannot plan now:", error)
            await deferLater(reactor, PLAN_EVERY)


async def work(reactor, client, name):
    """Take one job after the other."""
    queue = ReliableQueue(client, f"{ROOT}/queue")
    while True:
        job = await queue.get()
        customer, _, task = job.data.decode(errors="replace").partition(": ")
        try:
            async with Lock(client, f"{ROOT}/customers/{customer}", name).acquire():
                say(name, "does", task, "for", customer)
                await deferLater(reactor, 0.05)  # the work: do it so that twice does no harm
            await job.delete()
        except LeaseLostError:
            say(name, "lost", task, "- another worker does it again")
        except CancelledError:
            raise  # SIGTERM: closing the session gives the job back
        except Exception as error:  # noqa: BLE001 - whatever a job may raise
            say(name, "failed:", error)
            # Back into the queue.  If that is impossible now, the end of the session does it.
            await job.release().addErrback(lambda failure: failure.trap(ZooKeeperError) and None)
            await deferLater(reactor, 1.0)  # not again at once


async def run_worker(reactor, client, name):
    """Plan and work until SIGTERM, or until one of both fails."""
    tasks = [Deferred.fromCoroutine(each(reactor, client, name)) for each in (plan, work)]

    def stop_all(failure=None):
        for task in tasks:
            task.cancel()
        return failure

    for task in tasks:
        task.addErrback(stop_all)  # one that fails ends the worker
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: reactor.callFromThread(stop_all))
    say(name, "is ready")
    ends = [end for _, end in await DeferredList(tasks, consumeErrors=True)]
    say(name, "stops")
    for end in ends:
        if not end.check(CancelledError):
            end.raiseException()


async def main(reactor, hosts, command, *words):
    client = ZooKeeperClient(hosts, reactor=reactor)
    await client.connect(timeout=10)
    if command == "work":
        await run_worker(reactor, client, *words)
    else:
        await ReliableQueue(client, f"{ROOT}/queue").put(" ".join(words).encode())
    await client.close()


react(main, sys.argv[1:])
