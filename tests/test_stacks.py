"""Tests of ``zkservice.stacks``: where threads are."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from zkservice.stacks import (
    MAX_FRAMES,
    StackSampler,
    frames_by_thread,
    is_idle,
    place_of,
    stack_of,
    thread_stacks,
    waiting_place,
)


class StackTests(SynchronousTestCase):
    """Threads that are parked at a known line."""

    def park(self, run: Callable[[], object], name: str) -> threading.Thread:
        """A thread that runs this until the test is over."""
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 5)
        return thread

    def lock_in_a_call(self) -> threading.Thread:
        """A thread in an application's function, which waits for an event."""
        event, entered = threading.Event(), threading.Event()

        def wait_here() -> None:
            entered.set()
            event.wait(5)  # the line

        thread = self.park(wait_here, "parked")
        self.addCleanup(event.set)
        entered.wait(5)
        while not waiting_place(frames_by_thread()[thread.ident or 0])[0].code:
            pass
        return thread

    def test_the_applications_line_comes_first(self) -> None:
        """The application's line comes first, then the library's, which alone says nothing."""
        thread = self.lock_in_a_call()

        def looked() -> bool:
            place, inside = waiting_place(frames_by_thread()[thread.ident or 0])
            return place.code == "event.wait(5)  # the line" and inside is not None

        while not looked():
            pass
        place, inside = waiting_place(frames_by_thread()[thread.ident or 0])
        assert inside is not None
        self.assertEqual((place.function, place.file), ("wait_here", __file__))
        self.assertTrue(inside.file.endswith("threading.py"))
        self.assertEqual(
            str(place), f"{__file__}:{place.line} in wait_here: event.wait(5)  # the line"
        )

    def test_a_thread_in_the_library_alone_is_idle(self) -> None:
        """A thread that has only the library on its stack waits for work; others do not."""
        jobs: queue.SimpleQueue[None] = queue.SimpleQueue()
        plain: queue.Queue[None] = queue.Queue()
        self.park(plain.get, "idle")
        self.addCleanup(plain.put, None)
        self.addCleanup(jobs.put, None)
        self.lock_in_a_call()
        found = {each.name: each.idle for each in thread_stacks()}
        self.assertEqual((found["idle"], found["parked"]), (True, False))

    def test_a_stack_begins_with_the_outermost_call(self) -> None:
        """A stack is formatted as Python formats it."""

        def inner() -> list[str]:
            return [frame.f_code.co_name for frame in stack_of(sys._getframe())]

        self.assertEqual(inner()[-2:], ["test_a_stack_begins_with_the_outermost_call", "inner"])

    def test_deep_recursion_is_cut(self) -> None:
        """Of a recursion the innermost calls are shown."""

        def recurse(depth: int) -> int:
            return recurse(depth - 1) if depth else len(stack_of(sys._getframe()))

        self.assertEqual(recurse(MAX_FRAMES + 50), MAX_FRAMES)

    def test_code_without_a_file(self) -> None:
        """Code from a string has a place, but no text."""
        names: dict[str, object] = {"sys": sys}
        exec(compile("def f():\n    return sys._getframe()", "<made>", "exec"), names)
        frame = names["f"]()  # type: ignore[operator]
        self.assertEqual(str(place_of(frame)), "<made>:2 in f")
        self.assertFalse(is_idle(frame))


class SamplerTests(SynchronousTestCase):
    """Profiles for flame graphs."""

    def test_counts_stacks(self) -> None:
        """A thread that is parked is found with its calls in each sample."""
        event, entered = threading.Event(), threading.Event()

        def spin() -> None:
            entered.set()
            event.wait(5)

        thread = threading.Thread(target=spin, name="spinner; 1", daemon=True)
        thread.start()
        self.addCleanup(thread.join, 5)
        self.addCleanup(event.set)
        entered.wait(5)
        times = iter([0.0, 0.0, 0.1, 0.2])
        sampler = StackSampler(0.2, 0.001, now=lambda: next(times))
        sampler.sample()
        (line,) = [each for each in sampler.folded().splitlines() if "spinner" in each]
        self.assertRegex(line, r"^spinner, 1;spin \(tests/test_stacks.py:\d+\);.* 2$")

    def test_is_bounded(self) -> None:
        """Rare stacks are counted together."""
        sampler = StackSampler(1.0)
        for number in range(50):
            sampler.note(("thread", f"f{number}"), number + 1)
        lines = sampler.folded(100).splitlines()
        self.assertLessEqual(sum(map(len, lines[:-1])), 100)
        self.assertEqual(lines[0], "thread;f49 50")
        counted = sum(int(line.rpartition(" ")[2]) for line in lines)
        self.assertEqual(counted, 50 * 51 // 2)
        self.assertTrue(lines[-1].startswith("(other stacks) "))

    def test_stop(self) -> None:
        """A profile whose Deferred is cancelled ends."""
        sampler = StackSampler(60.0)
        done = threading.Event()
        sampler.start(lambda folded: done.set())
        sampler.stop()
        self.assertTrue(done.wait(5))
