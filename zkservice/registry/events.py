"""The event that lets subscribers add properties before an address is registered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: Calls the subscribers with an event, as `zope.event.notify` does.
Notify = Callable[[object], object]


@dataclass
class RegisteringServer:
    """A server is about to be registered; subscribers can add properties.

    Attributes:
        name: the address as it was given; its host may be blank.
        path: the znode under which it will be registered.
        properties: the properties to store; change them in place.
    """

    name: str
    path: str
    properties: dict[str, Any]


def default_notify() -> Notify:
    """`zope.event.notify` if zope.event is installed, else a function that does nothing."""
    try:
        from zope.event import notify
    except ImportError:
        return lambda event: None
    found: Notify = notify
    return found
