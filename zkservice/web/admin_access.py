"""Who may ask for the views that are for operators: by address, host name and origin.

What counts is who has connected.  Fields like ``X-Forwarded-For`` and PROXY headers are only
ever a reason to refuse: any client can write them.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Final

from zkservice.errors import ViewError
from zkservice.http11 import Request, split_host
from zkservice.web.environ import ConnectionInfo
from zkservice.web.proxies import FORWARDED_FIELDS, TrustedProxies, peer_address

__all__ = ["AdminAccess"]

#: Fields that proxies add: a request that has one was not made by who has connected.
_VIA: Final = frozenset(
    [*FORWARDED_FIELDS.values(), "HTTP_VIA", "HTTP_X_REAL_IP", "HTTP_X_FORWARDED"]
)
_METHODS: Final = ("GET", "HEAD")
_FORBIDDEN: Final = "403 Forbidden"


class AdminAccess:
    """Decides whether a request may see a view that is for operators.

    Args:
        networks: who may ask beside this machine, as addresses or in CIDR notation.
        hosts: names under which the service may be asked, beside ``localhost`` and addresses.
        proxies: their connections are made for others.
        own_port: whether only operators know the port: a client's certificate that was verified
            there will do, and a proxy in front is theirs.

    Raises:
        ValueError: a network is invalid.
    """

    def __init__(
        self,
        networks: Iterable[str] = (),
        hosts: Iterable[str] = (),
        proxies: TrustedProxies | None = None,
        *,
        own_port: bool = False,
    ) -> None:
        self._networks = [ip_network(network, strict=False) for network in networks]
        self._hosts = frozenset(["localhost", *(_plain_name(host) for host in hosts)])
        self._proxies = proxies or TrustedProxies()
        self._own_port = own_port

    def refusal(self, request: Request, info: ConnectionInfo) -> ViewError | None:
        """Why a request is refused; None if it may see the view.

        Args:
            info: of the connection, before a proxy's fields were applied.
        """
        if request.method not in _METHODS:
            return ViewError(
                "405 Method Not Allowed",
                "this view can only be read",
                (("Allow", ", ".join(_METHODS)),),
            )
        reason = self._client_problem(request, info) or self._browser_problem(request)
        return ViewError(_FORBIDDEN, reason) if reason else None

    def _client_problem(self, request: Request, info: ConnectionInfo) -> str:
        """What is wrong with who has connected; "" if nothing is."""
        if info.proxied:
            return "this view is not shown to connections with a PROXY header"
        if self._own_port:
            if ("SSL_CLIENT_VERIFY", "SUCCESS") in info.certificate:
                return ""
        elif not _VIA.isdisjoint(request.fields) or self._proxies.trusts(info.remote_addr):
            return "this view is not shown through a proxy; ask at a port of --admin-listen"
        if self._may_connect(info.remote_addr):
            return ""
        return f"this view is not shown to {info.remote_addr}; --admin-allow names who may ask"

    def _may_connect(self, peer: str) -> bool:
        address = peer_address(peer)
        if address is None:
            return False
        return address.is_loopback or any(address in network for network in self._networks)

    def _browser_problem(self, request: Request) -> str:
        """What is wrong with the page that has a browser ask; "" if nothing is.

        A page of an attacker can have a browser on this machine connect here.  Its request is
        for the attacker's name, even if that has our address meanwhile (DNS rebinding), or it
        comes from another origin.
        """
        fields = request.fields
        host = fields.get("HTTP_HOST", "").lower()
        if host and not self._knows(host):
            return f"this view is not shown as {host}; --admin-host adds a name"
        origin = fields.get("HTTP_ORIGIN")
        if origin is not None and origin.lower().partition("://")[2] != host:
            return "this view is not shown to pages of another origin"
        site = fields.get("HTTP_SEC_FETCH_SITE", "none")
        opened = fields.get("HTTP_SEC_FETCH_DEST") == "document"  # a link was followed
        if site not in ("none", "same-origin") and not opened:
            return "this view is not shown inside of pages of another site"
        return ""

    def _knows(self, host: str) -> bool:
        parts = split_host(host)
        if parts is None:
            return False
        name = _plain_name(parts[0])
        return name in self._hosts or _is_address(name.strip("[]"))


def _plain_name(name: str) -> str:
    return name.lower().rstrip(".")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
