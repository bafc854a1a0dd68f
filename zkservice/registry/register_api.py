"""`register`: its arguments, their defaults, and the addresses that they stand for."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from twisted.internet.interfaces import IReactorTime

from zkservice.client import ZooKeeperClient
from zkservice.errors import AddressError
from zkservice.formats.addresses import format_address, parse_address
from zkservice.registry.addresses import advertised_addresses
from zkservice.registry.events import Notify, RegisteringServer, default_notify
from zkservice.registry.registration import Registration
from zkservice.wire.acl import ACL, READ_ACL_UNSAFE
from zkservice.znodes import validate

#: ``"host:port"``, a pair, or several ``"host:port"``.
AddressLike = str | tuple[str | None, int | str] | Sequence[str | int]


def register(
    client: ZooKeeperClient,
    path: str,
    address: AddressLike,
    properties: Mapping[str, Any] | None = None,
    acl: Sequence[ACL] = READ_ACL_UNSAFE,
    *,
    format: str = "properties",
    tls: Collection[str] = (),
    real_path: str | None = None,
    replace: bool = True,
    clock: IReactorTime | None = None,
    random: Callable[[], float] | None = None,
    notify: Notify | None = None,
) -> Registration:
    """Register an address under a znode until it is unregistered.

    Args:
        client: its session owns the znodes; it may still be connecting.
        path: the znode under which to register; created, with its parents, if missing.  It
            may lead through symbolic links.  When a link changes, the registration moves.
        address: ``"host:port"`` or ``(host, port)``, where a blank host stands for every
            IPv4 address of this machine; or several ``"host:port"``, used as they are.
        properties: stored as JSON; ``pid`` is added unless it is there.
        acl: the ACL of the znodes; by default every client may read and none may write.
        format: how names and data of the znodes are written; a name in `zkservice.formats.FORMATS`.
        tls: those of the addresses that expect TLS, for formats that store it.
        real_path: where the path leads, if the caller has just resolved it.
        replace: True if this process listens on the address; then a znode that another process
            has left is replaced at once.  If False, the registration waits until it is gone.
        clock: tells the time; None is the installed reactor.
        random: returns numbers from 0 to 1, for jitter.
        notify: called with a `RegisteringServer` event before anything is registered, so that
            subscribers can add properties; the default is zope.event's, if installed.

    Raises:
        AddressError, InvalidPathError, FormatError: an argument is invalid; nothing was done.
        NodeExistsError: the address is registered below the path on this client already.
    """
    stored = {"pid": os.getpid(), **(properties or {})}
    name, addresses = _expand(address)
    notify_subscribers = notify or default_notify()
    notify_subscribers(RegisteringServer(name, validate(real_path or path), stored))
    if clock is None:
        from twisted.internet import reactor  # noqa: TID251 - the caller wants the default

        clock = IReactorTime(reactor)
    if random is None:
        from random import random as system_random

        random = system_random
    return Registration(
        client,
        path,
        addresses,
        stored,
        acl,
        format=format,
        tls=tls,
        real_parent=real_path,
        replace=replace,
        clock=clock,
        random=random,
    )


def _expand(address: AddressLike) -> tuple[str, tuple[str, ...]]:
    """The name of an address for subscribers, as it was given, and the addresses to register."""
    match address:
        case str():
            host, port = parse_address(address)
        case (str() | None as name, int() | str() as number) if ":" not in str(number):
            host, port = _pair(address, name or "", number)
        case [_, *_] as several if all(isinstance(each, str) for each in several):
            addresses = tuple(format_address(*parse_address(str(each))) for each in several)
            return ", ".join(addresses), addresses
        case _:
            raise _no_address(address)
    return format_address(host, port), advertised_addresses(host, port)


def _pair(address: AddressLike, host: str, port: int | str) -> tuple[str, int]:
    if isinstance(port, bool):
        raise _no_address(address)
    try:
        return parse_address(format_address(host, int(port)))
    except ValueError:  # AddressError is one
        raise _no_address(address) from None


def _no_address(address: object) -> AddressError:
    return AddressError(f"{address!r} is not an address; expected 'HOST:PORT' or (HOST, PORT)")
