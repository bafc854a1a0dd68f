"""Tell HTTP from an operator's input.

A web page can make a browser on this machine send requests to its ports, with any method, path and
body.  So no input after a line of HTTP may be executed.
"""

from __future__ import annotations

import re
from typing import Final

#: RFC 9112 3: a request line ends with the version; a method may be any token, even ``out``.
_REQUEST_LINE: Final = re.compile(rb"\sHTTP/\d(\.\d+)?\s*\Z", re.IGNORECASE)
#: RFC 8446 5.1: the type of a handshake record.  A page chooses some bytes of a ClientHello.
_TLS_HANDSHAKE: Final = b"\x16\x03"


def looks_like_http(line: bytes) -> bool:
    """Whether a line is an HTTP request line, or the start of a TLS handshake."""
    return line.startswith(_TLS_HANDSHAKE) or _REQUEST_LINE.search(line) is not None
