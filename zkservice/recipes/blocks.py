"""What is held as a block: ``async with Lock(client, path)``, ``async with lock.acquire()``."""

from __future__ import annotations

from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from typing_extensions import override

from zkservice.errors import LockTimeoutError


class Leavable(Protocol):
    """What a block ends with."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave it."""


R = TypeVar("R")
T = TypeVar("T", bound=Leavable)

#: What the blocks around the coroutine that is running have entered.
_ENTERED: Final[ContextVar[tuple[object, ...]]] = ContextVar("entered", default=())


class _Relay(Deferred[R]):
    """Fires as another Deferred does; cancelled, it fires when that one has ended."""

    def __init__(self, source: Deferred[R]) -> None:
        super().__init__()
        self._source = source
        source.addCallbacks(self.callback, self.errback)

    @override
    def cancel(self) -> None:
        """Cancel what it waits for, or what its callbacks wait for."""
        if self.called:
            super().cancel()
        else:
            self._source.cancel()


class Entering(_Relay[T]):
    """A Deferred of something that is held; as a block it waits for it, and leaves it again.

    ``async with lock.acquire() as lease`` is ``async with await lock.acquire() as lease``.
    """

    _held: T | None = None

    async def __aenter__(self) -> T:
        self._held = held = await self
        return held

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave what was entered."""
        held, self._held = self._held, None
        if held is not None:
            await held.__aexit__(kind, error, traceback)


class Trying(_Relay["T | None"], Generic[T]):
    """As `Entering`, for what fires with None if it cannot be had; then there is no block."""

    def __init__(self, source: Deferred[T | None], path: str) -> None:
        super().__init__(source)
        self._path = path
        self._held: T | None = None

    async def __aenter__(self) -> T:
        """Wait for it.

        Raises:
            LockTimeoutError: others are before us; the block would not be protected.
        """
        held = self._held = await self
        if held is None:
            raise LockTimeoutError(self._path, "others are before us")
        return held

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave what was entered."""
        held, self._held = self._held, None
        if held is not None:
            await held.__aexit__(kind, error, traceback)


class Block(Generic[T]):
    """A recipe that each block enters anew; any number of blocks may be in one object.

    A block leaves what it has itself entered: a coroutine has a context of its own, and
    remembers it there.  Who enters in one coroutine and leaves in another one (with an
    `contextlib.AsyncExitStack`) leaves what was entered first.
    """

    def __init__(self) -> None:
        self._open: list[T] = []  # what blocks are in, the one entered first comes first

    def _enter_block(self) -> Deferred[Any]:
        """Enter as a block without arguments does; fires with a `T`."""
        raise NotImplementedError

    async def __aenter__(self) -> T:
        held: T = await self._enter_block()
        self._open.append(held)
        _ENTERED.set((*_ENTERED.get(), held))
        return held

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave what this block has entered."""
        entered = _ENTERED.get()
        ours = [one for one in self._open if any(one is other for other in entered)]
        held = ours[-1] if ours else self._open[0]
        self._open.remove(held)
        _ENTERED.set(tuple(one for one in entered if one is not held))
        await held.__aexit__(kind, error, traceback)
