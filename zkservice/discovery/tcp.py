"""Connect to a provider's host; addresses are not looked up."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint

__all__ = ["MAX_TIMEOUTS", "tcp_endpoint"]

#: Connect time-outs that one call may take.  When a network fails, no address refuses: each
#: attempt takes a whole time-out, and there may be many addresses.
MAX_TIMEOUTS: Final = 5


def tcp_endpoint(reactor: Any, host: str, port: int, timeout: float) -> Any:
    """The endpoint of a host.

    Addresses do not get a ``HostnameEndpoint``: it looks them up in a thread, and reports a
    refused connection only 0.3 seconds later, when it would try the host's next address.

    Args:
        reactor: connects.
        host: a name, or an IP address without brackets.
        port: its number.
        timeout: seconds.
    """
    if isIPAddress(host):
        return TCP4ClientEndpoint(reactor, host, port, timeout)
    if isIPv6Address(host):
        return TCP6ClientEndpoint(reactor, host, port, timeout)
    return HostnameEndpoint(reactor, host, port, timeout)
