"""The endpoint strings ``zk:`` and ``mtls:``.

Twisted loads this module whenever any endpoint string is parsed.  So the parsers are named here,
and imported only for a string with their prefix.
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
class LazyServerParser:
    """Parses server endpoint strings with a prefix, with a parser that is imported when needed.

    Args:
        prefix: what the strings begin with, before the first colon.
        parser: the dotted name of the parser's class.
    """

    def __init__(self, prefix: str, parser: str) -> None:
        self.prefix = prefix
        self._parser_name = parser

    def parseStreamServer(  # noqa: N802 - Twisted's name
        self, *args: Any, **kwargs: Any
    ) -> Any:
        """Return the endpoint for the arguments of a server string."""
        return namedAny(self._parser_name)().parseStreamServer(*args, **kwargs)


@implementer(IStreamClientEndpointStringParserWithReactor)
class LazyServerAndClientParser(LazyServerParser):
    """Parses client endpoint strings with the prefix, too.

    The client parser is created once, because it holds the sessions that its endpoints share.

    Args:
        prefix: what the strings begin with, before the first colon.
        parser: the dotted name of the server parser's class.
        client_parser: the dotted name of the client parser's class.
    """

    def __init__(self, prefix: str, parser: str, client_parser: str) -> None:
        super().__init__(prefix, parser)
        self._client_name = client_parser
        self._client: Any = None

    def parseStreamClient(  # noqa: N802
        self, *args: Any, **kwargs: Any
    ) -> Any:
        """Return the endpoint for the arguments of a client string."""
        if self._client is None:
            self._client = namedAny(self._client_name)()
        return self._client.parseStreamClient(*args, **kwargs)


zk = LazyServerAndClientParser(
    "zk",
    "zkservice.registry.endpoints.ServerEndpointParser",
    "zkservice.discovery.endpoints.ClientEndpointParser",
)
mtls = LazyServerParser("mtls", "zkservice.web.client_certificates.MutualTLSParser")
