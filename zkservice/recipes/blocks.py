"""Recipes as blocks: ``async with Lock(client, path)``, ``async with lock.acquire()``."""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar, Token
from functools import cached_property
from types import TracebackType
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from typing_extensions import Self, override

from zkservice.errors import LockTimeoutError


class Leavable:
    """Something that an ``async with`` block ends with; a subclass says what that means."""

    async def leave_block(self, error: BaseException | None) -> None:
        """Leave it.

        Args:
            error: what the block raised; None if it came to its end.
        """
        raise NotImplementedError

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave it, whether or not the block has raised."""
        await self.leave_block(error)


class Held(Leavable):
    """Something that is held already, so a block has only to leave it."""

    async def __aenter__(self) -> Self:
        return self


R = TypeVar("R")
T = TypeVar("T", bound=Leavable)


class _BlockDeferred(Deferred[R], Leavable, Generic[R, T]):
    """A Deferred that is a block, too: it waits, and leaves what it has fired with.

    It relays another Deferred, whose coroutine may need some time to end after it was
    cancelled: this one fires when that one has ended.
    """

    def __init__(self, source: Deferred[R]) -> None:
        super().__init__()
        self._source = source
        self._held: T | None = None
        source.addCallbacks(self.callback, self.errback)

    @override
    def cancel(self) -> None:
        """Cancel what it waits for, or what its callbacks wait for."""
        if self.called:
            super().cancel()
        else:
            self._source.cancel()

    @override
    async def leave_block(self, error: BaseException | None) -> None:
        """Leave what was entered."""
        held, self._held = self._held, None
        if held is not None:
            await held.leave_block(error)


class Entering(_BlockDeferred[T, T]):
    """A Deferred of something that is held; as a block it waits for it, and leaves it again.

    ``async with lock.acquire() as lease`` is ``async with await lock.acquire() as lease``.
    """

    async def __aenter__(self) -> T:
        self._held = held = await self
        return held


class Trying(_BlockDeferred["T | None", T]):
    """Like `Entering`, but it fires with None if others hold it; as a block it fails then."""

    def __init__(self, source: Deferred[T | None], path: str) -> None:
        super().__init__(source)
        self._path = path

    async def __aenter__(self) -> T:
        """Wait for it.

        Raises:
            LockTimeoutError: others come first; the block would not be protected.
        """
        held = self._held = await self
        if held is None:
            raise LockTimeoutError(self._path, "others come first")
        return held


class _OpenBlocks(Generic[T]):
    """What the blocks of one object have entered, and not left yet.

    A coroutine runs in a context of its own, and remembers there which of them it has entered.
    """

    def __init__(self) -> None:
        # In the order in which they were entered; the token undoes what was remembered.
        self._open: list[tuple[T, Token[tuple[T, ...]]]] = []
        # It belongs to the object, not to the module: another object's blocks do not matter.
        # A context keeps a variable alive as long as it has a value, so `remove` takes it away.
        self._entered: ContextVar[tuple[T, ...]] = ContextVar("entered", default=())

    def add(self, held: T) -> None:
        """The running coroutine has entered a block."""
        self._open.append((held, self._entered.set((*self._entered.get(), held))))

    def remove(self) -> T:
        """The running coroutine leaves a block: the last that it has entered.

        A coroutine that has entered none leaves the first of all.
        """
        entered = self._entered.get()
        index = len(self._open) - 1
        while index and not any(self._open[index][0] is one for one in entered):
            index -= 1
        held, token = self._open.pop(index)
        with suppress(ValueError):  # it was entered in another context
            self._entered.reset(token)
        return held


class Block(Leavable, Generic[T]):
    """A recipe that each ``async with`` block enters anew; it can be in many blocks at a time.

    A block leaves what it has entered itself.  If one coroutine enters and another one leaves
    (with `contextlib.AsyncExitStack`), what was entered first is left first.
    """

    @cached_property
    def _blocks(self) -> _OpenBlocks[T]:
        return _OpenBlocks()

    def _enter_block(self) -> Deferred[Any]:
        """Enter as a block without arguments does; fires with a `T`."""
        raise NotImplementedError

    async def __aenter__(self) -> T:
        held: T = await self._enter_block()
        self._blocks.add(held)
        return held

    @override
    async def leave_block(self, error: BaseException | None) -> None:
        """Leave what this block has entered."""
        await self._blocks.remove().leave_block(error)
