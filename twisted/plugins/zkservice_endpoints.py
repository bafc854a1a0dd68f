"""The endpoint strings ``zk:`` and ``mtls:``.

Twisted loads this whenever an endpoint string is parsed, so what it names is imported only for
strings that begin so.
"""

from typing import Any

from twisted.internet.interfaces import (
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from twisted.python.reflect import namedAny
from zope.interface import implementer


@implementer(IPlugin, IStreamServerEndpointStringParser)
class ServerStrings:
    """Server strings that begin with a prefix; the parser has a name, and is made when needed."""

    def __init__(self, prefix: str, parser: str) -> None:
        self.prefix = prefix
        self._parser = parser

    def parseStreamServer(  # noqa: N802 - Twisted's name
        self, *words: Any, **named: Any
    ) -> Any:
        """What the parser makes of them."""
        return namedAny(self._parser)().parseStreamServer(*words, **named)


@implementer(IStreamClientEndpointStringParserWithReactor)
class BothStrings(ServerStrings):
    """Server and client strings that begin with a prefix."""

    def parseStreamClient(  # noqa: N802
        self, *words: Any, **named: Any
    ) -> Any:
        """What the parser makes of them."""
        return namedAny(self._parser)().parseStreamClient(*words, **named)


zk = BothStrings("zk", "zkservice.registry.endpoints.EndpointParser")
mtls = ServerStrings("mtls", "zkservice.web.client_certificates.MutualTLSParser")
