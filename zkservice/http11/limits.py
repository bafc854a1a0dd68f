"""The limits of the front end, each with its unit, default and consequence."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final

__all__ = ["Limit", "Limits", "limits_table"]


#: Limits for which 0 would refuse every request.
_NEVER_ZERO: Final = frozenset(
    {"target_bytes", "head_bytes", "head_fields", "head_timeout", "body_grace", "write_stall"}
)


@dataclass(frozen=True)
class Limit:
    """One row of the table that feeds the command line, Paste files and the manual."""

    name: str  #: the field of ``Limits``
    default: int | float
    unit: str
    help: str  #: what happens at the limit, in one sentence

    @property
    def option(self) -> str:
        """The name as it is spelled on a command line."""
        return self.name.replace("_", "-")


def _limit(default: Any, unit: str, consequence: str) -> Any:
    return field(default=default, metadata={"unit": unit, "help": consequence})


@dataclass(frozen=True)
class Limits:
    """The limits of the front end.  Sizes are bytes, times are seconds.

    The defaults allow the requests of all browsers, proxies and libraries, and refuse what only
    attackers and broken clients send.
    """

    # Heads: Apache accepts 8190 bytes for a line, nginx 8 KiB for a line and 32 KiB together.
    target_bytes: int = _limit(
        8190, "bytes", "Longest request target; a longer one is answered with 414."
    )
    head_bytes: int = _limit(
        65536, "bytes", "Largest request head; a larger one is answered with 431."
    )
    head_fields: int = _limit(
        100, "fields", "Most header fields of a request; more are answered with 431."
    )

    # Bodies
    body_bytes: int = _limit(
        1 << 30, "bytes", "Largest request body; a larger one is answered with 413."
    )
    body_memory: int = _limit(
        512 * 1024, "bytes", "A request body above this is kept in a temporary file."
    )
    body_disk: int = _limit(
        4 << 30,
        "bytes",
        "The most that all request bodies may take in temporary files; further ones get 503.",
    )

    pipeline_bytes: int = _limit(
        65536, "bytes", "While a request is served, at most this much is read of later requests."
    )

    # Responses
    response_memory: int = _limit(
        1 << 20, "bytes", "How much of a streamed response waits in memory for a slow reader."
    )
    response_patience: float = _limit(
        1.0,
        "seconds",
        "How long a worker waits for a slow client if no request is queued; then it uses a file.",
    )
    response_file: int = _limit(
        1 << 30, "bytes", "How much of a response waits in a temporary file for a slow reader."
    )

    # Load
    connections: int = _limit(
        0,
        "connections",
        "Most connections; others get 503.  Never more than the limit of open files, less 128, "
        "which 0 means.",
    )
    queue: int = _limit(
        0,
        "requests",
        "Most requests that wait for a thread; others get 503.  0: 64 a thread, at least 256.",
    )
    retry_after: float = _limit(5.0, "seconds", "The Retry-After of a 503.")

    # Time.  A deadline is noticed up to a second late.
    head_timeout: float = _limit(
        30.0, "seconds", "A head that is not complete this long after its first byte gets 408."
    )
    body_grace: float = _limit(
        30.0, "seconds", "How long a body may come slower than the body rate, which then gets 408."
    )
    body_rate: int = _limit(
        500, "bytes per second", "Slowest body; a slower one gets 408 after the grace."
    )
    keep_alive: float = _limit(
        75.0, "seconds", "An idle connection is closed after this; 0 closes after each response."
    )
    request_timeout: float = _limit(
        0.0,
        "seconds",
        "A request that runs longer gets 504, its stack is logged, its thread replaced; 0: never.",
    )
    write_stall: float = _limit(
        60.0, "seconds", "A client that takes no byte of its response for this long is cut off."
    )
    drain_linger: float = _limit(
        1.0, "seconds", "While draining, idle clients may send one more request for this long."
    )

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if value < 0:
                raise ValueError(f"the limit {limit.name} cannot be negative: {value}")
            if not value and limit.name in _NEVER_ZERO:
                raise ValueError(
                    f"the limit {limit.name} must not be 0: no request could be served"
                )


def limits_table() -> list[Limit]:
    """Every limit with its unit, default and consequence, in the order of ``Limits``."""
    return [
        Limit(each.name, each.default, each.metadata["unit"], each.metadata["help"])  # type: ignore[arg-type]
        for each in fields(Limits)
    ]
