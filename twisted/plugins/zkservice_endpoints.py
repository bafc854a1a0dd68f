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
        self._server = parser

    def parseStreamServer(  # noqa: N802 - Twisted's name
        self, *words: Any, **named: Any
    ) -> Any:
        """What the parser makes of them."""
        return namedAny(self._server)().parseStreamServer(*words, **named)


@implementer(IStreamClientEndpointStringParserWithReactor)
class BothStrings(ServerStrings):
    """Server and client strings that begin with a prefix.

    The client parser is made once: it knows what the endpoints of a reactor share.
    """

    def __init__(self, prefix: str, parser: str, client_parser: str) -> None:
        super().__init__(prefix, parser)
        self._client_name = client_parser
        self._client: Any = None

    def parseStreamClient(  # noqa: N802
        self, *words: Any, **named: Any
    ) -> Any:
        """What the parser makes of them."""
        if self._client is None:
            self._client = namedAny(self._client_name)()
        return self._client.parseStreamClient(*words, **named)


zk = BothStrings(
    "zk",
    "zkservice.registry.endpoints.ServerEndpointParser",
    "zkservice.discovery.endpoints.ClientEndpointParser",
)
mtls = ServerStrings("mtls", "zkservice.web.client_certificates.MutualTLSParser")
