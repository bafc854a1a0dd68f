"""Access to the views for operators: by the client's address, the host name and the origin.

Only the address of the connection counts.  Any client can send fields like ``X-Forwarded-For`` and
PROXY headers, so they are only a reason to refuse.
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

#: Fields that proxies add.  With one of these, the connection's address is not the client's.
_VIA: Final = frozenset(
    [*FORWARDED_FIELDS.values(), "HTTP_VIA", "HTTP_X_REAL_IP", "HTTP_X_FORWARDED"]
)
_METHODS: Final = ("GET", "HEAD")
_FORBIDDEN: Final = "403 Forbidden"


class AdminAccess:
    """Decides whether a request may see a view for operators.

    Args:
        networks: clients that are allowed beside this machine, as addresses or in CIDR notation.
        hosts: allowed values of the ``Host`` field, beside ``localhost`` and addresses.
        proxies: proxies of the application; views are not shown through them.
        own_port: whether the port serves only views for operators.  There a verified client
            certificate is sufficient, and a proxy is allowed.

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
        """The response that refuses a request; None if it may see the view.

        Args:
            request: the request.
            info: the connection's addresses, before a proxy's fields were applied.
        """
        if request.method not in _METHODS:
            return ViewError(
                "405 Method Not Allowed",
                "only GET and HEAD are allowed for this view",
                (("Allow", ", ".join(_METHODS)),),
            )
        reason = self._client_problem(request, info) or self._browser_problem(request)
        return ViewError(_FORBIDDEN, reason) if reason else None

    def _client_problem(self, request: Request, info: ConnectionInfo) -> str:
        """Why the client is refused; "" if it is allowed."""
        if info.proxied:
            return "this view is not shown to connections with a PROXY header"
        if self._own_port:
            if ("SSL_CLIENT_VERIFY", "SUCCESS") in info.certificate:
                return ""
        elif not _VIA.isdisjoint(request.fields):
            return "this view is not shown through a proxy; use a port of --admin-listen"
        elif self._proxies.trusts(info.remote_addr):
            return (
                f"this view is not shown to {info.remote_addr}, which is a --trusted-proxy; "
                "use a port of --admin-listen"
            )
        if self._may_connect(info.remote_addr):
            return ""
        return f"this view is not shown to {info.remote_addr}; allow it with --admin-allow"

    def _may_connect(self, peer: str) -> bool:
        address = peer_address(peer)
        if address is None:
            return False
        return address.is_loopback or any(address in network for network in self._networks)

    def _browser_problem(self, request: Request) -> str:
        """Why a browser's request is refused; "" if it is allowed.

        An attacker's page can make a browser on this machine send requests here.  Such a request
        has the attacker's host name, which may resolve to our address (DNS rebinding), or it comes
        from another origin.
        """
        fields = request.fields
        host = fields.get("HTTP_HOST", "").lower()
        if host and not self._is_allowed_host(host):
            return f"this view is not shown as {host}; allow the name with --admin-host"
        origin = fields.get("HTTP_ORIGIN")
        if origin is not None and origin.lower().partition("://")[2] != host:
            return "this view is not shown to pages of another origin"
        site = fields.get("HTTP_SEC_FETCH_SITE", "none")
        # "document" is a page of its own, as after a click on a link: it is not inside of another.
        is_page = fields.get("HTTP_SEC_FETCH_DEST") == "document"
        if site not in ("none", "same-origin") and not is_page:
            return "this view is not shown inside of pages of another site"
        return ""

    def _is_allowed_host(self, host: str) -> bool:
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
