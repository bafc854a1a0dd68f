"""Tests."""

import os
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import HealthCheck, settings

T = TypeVar("T")

#: Whether long tests do all of their work: set ``ZKSERVICE_THOROUGH=1``, as CI does.
THOROUGH = os.environ.get("ZKSERVICE_THOROUGH") == "1"


def effort(thorough: int, quick: int) -> int:
    """How many examples, calls or clients a long test has; the smaller number by default."""
    return thorough if THOROUGH else quick


# How long an example takes says something about the machine, which may be busy, not about the
# code; what else Hypothesis has found out about where it runs (in CI) stays.
settings.register_profile(
    "patient",
    settings(),
    deadline=None,
    max_examples=effort(100, 20),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("patient")


def sample(points: Sequence[T], quick: int) -> Sequence[T]:
    """The points at which a long test breaks something: by default about so many, else all.

    The stride is odd, so that it does not always meet the same part of a frame.
    """
    return points if THOROUGH else points[:: max(1, len(points) // quick) | 1]
