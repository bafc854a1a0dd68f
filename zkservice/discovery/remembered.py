"""A file that remembers the providers of a service for a start without ZooKeeper."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zkservice.deferreds import Alarm
from zkservice.discovery.provider import Provider
from zkservice.formats import Member
from zkservice.formats.model import Znode
from zkservice.replacing import replacing

#: Bytes of the largest file that is read or written.
MAX_SIZE: Final = 4 * 2**20
#: Seconds for which changes are collected before the file is written.
SAVE_DELAY: Final = 1.0

_VERSION: Final = 1


class RememberedProviders:
    """Writes providers into a file, and reads them back.

    The file is replaced in one step, so a reader never sees half of it.  If it cannot be read
    or written, a warning is logged, and discovery continues without it.

    Args:
        name: the file's name.  Its directory must exist.
        path: the service's path; a file of another service is not used.
        clock: tells the time.
    """

    _log = Logger()

    def __init__(self, name: str | os.PathLike[str], path: str, clock: IReactorTime) -> None:
        self._name = os.fspath(name)
        self._path = path
        self._alarm = Alarm(clock, self._save)
        self._providers: tuple[Provider, ...] = ()

    def load(self) -> dict[str, Provider]:
        """The providers in the file, by address; empty if the file is missing or invalid."""
        try:
            with open(self._name, "rb") as file:
                data = file.read(MAX_SIZE + 1)
            return self._parse(data)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            self._warn("cannot be used", error)
            return {}

    def remember(self, providers: Iterable[Provider]) -> None:
        """Write these providers within `SAVE_DELAY` seconds."""
        self._providers = tuple(providers)
        self._alarm.set_no_later(SAVE_DELAY)

    def close(self) -> None:
        """Write pending changes now."""
        if self._alarm.is_set:
            self._alarm.cancel()
            self._save()

    def _parse(self, data: bytes) -> dict[str, Provider]:
        if len(data) > MAX_SIZE:
            raise ValueError(f"it is larger than {MAX_SIZE} bytes")
        content = json.loads(data)
        if not isinstance(content, dict) or content.get("version") != _VERSION:
            raise ValueError("it is not a file of providers")
        if content.get("path") != self._path:
            raise ValueError(f"it is for the path {content.get('path')!r}, not {self._path}")
        entries = content.get("providers")
        if not isinstance(entries, list):
            raise ValueError("providers must be a list")
        providers = [_provider(entry) for entry in entries]
        return {provider.address: provider for provider in providers}

    def _save(self) -> None:
        content = {
            "version": _VERSION,
            "path": self._path,
            "providers": [_entry(provider) for provider in self._providers],
        }
        try:
            data = json.dumps(content, indent=1).encode()
            if len(data) > MAX_SIZE:
                raise ValueError(f"the providers need more than {MAX_SIZE} bytes")
            with replacing(self._name) as file:
                file.write(data)
        except (OSError, ValueError) as error:
            self._warn("cannot be written", error)

    def _warn(self, what: str, error: Exception) -> None:
        self._log.warn(
            "the file {name} with the providers of {path} {what}: {error}",
            name=self._name,
            path=self._path,
            what=what,
            error=error,
        )


def _entry(provider: Provider) -> dict[str, Any]:
    return {
        "host": provider.host,
        "port": provider.port,
        "properties": dict(provider.properties),
        "tls": provider.tls,
    }


def _provider(entry: object) -> Provider:
    """A provider, checked like one that is read from ZooKeeper.

    Raises:
        ValueError: the entry is invalid.
    """
    if not isinstance(entry, dict):
        raise ValueError("a provider must be an object")
    properties = entry.get("properties")
    if not isinstance(properties, dict):
        raise ValueError("properties must be an object")
    znode = Znode("provider", b"")
    host, port = znode.host_of(entry.get("host")), znode.port_of(entry.get("port"))
    return Provider.of(Member("remembered", host, port, properties, entry.get("tls") is True))
