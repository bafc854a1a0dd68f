"""Hand lists of providers to other programs: files, commands, HAProxy's socket.

`zkservice.formats.consumers` makes the texts; it does no I/O.
"""

from zkservice.publishing.commands import CommandRunner
from zkservice.publishing.files import FileTarget
from zkservice.publishing.haproxy import HAProxySocket, HAProxyTarget
from zkservice.publishing.publisher import Publication, Publisher, PublishTarget
from zkservice.publishing.source import Source

__all__ = [
    "CommandRunner",
    "FileTarget",
    "HAProxySocket",
    "HAProxyTarget",
    "Publication",
    "PublishTarget",
    "Publisher",
    "Source",
]
