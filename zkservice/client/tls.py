"""TLS to the servers, with their names verified unless that is switched off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    CertificateOptions,
    PrivateCertificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from zope.interface import implementer

from zkservice.errors import TLSRefusedError
from zkservice.pem import AnyPath, read_certificates, read_private_certificate


@dataclass(frozen=True)
class TLS:
    """Which servers to trust, and the client's own certificate; pass it to a client as ``tls``.

    ::

        ZooKeeperClient("zk1:2281", tls=TLS(ca="ca.pem", certificate="me.pem", key="me.key"))

    The files are read for each connection, so a renewed certificate is used without a restart.  A
    file that cannot be read is the reason in the error of a `ZooKeeperClient.connect` with a
    time-out; call `load` to get the error at once.
    """

    #: PEM file of the trusted authorities; None for those of the system.
    ca: AnyPath | None = None
    #: PEM file of the client's certificate, where servers ask for one (they do by default).
    certificate: AnyPath | None = None
    #: PEM file of its key; None if it is in the same file.
    key: AnyPath | None = None
    #: The name in the servers' certificates, if it is not the host's name in the connection string.
    server_name: str | None = None
    #: Whether the certificate must be for that name.  If False, any certificate of a trusted
    #: authority is accepted as the server's.
    verify_name: bool = True

    def __call__(self, host: str) -> IOpenSSLClientConnectionCreator:
        """The TLS side of a connection to a host; the files are read each time.

        Raises:
            OSError: a file cannot be read.
            ConfigurationError: a file has no certificate or key, or they do not match.
        """
        return self.load()(host)

    def load(self) -> Callable[[str], IOpenSSLClientConnectionCreator]:
        """Read the files now, and return a function that can replace this object as ``tls``.

        For a process that will lose the permission to read them, as after ``--uid``.

        Raises:
            OSError: a file cannot be read.
            ConfigurationError: a file has no certificate or key, or they do not match.
        """
        trust = None if self.ca is None else trustRootFromCertificates(read_certificates(self.ca))
        own = None
        if self.certificate is not None:
            own = read_private_certificate(self.certificate, self.key)

        def connect(host: str) -> IOpenSSLClientConnectionCreator:
            name = self.server_name or host
            if not self.verify_name:
                return _AnyNameVerifier(name, trust, own)
            verified: IOpenSSLClientConnectionCreator = optionsForClientTLS(
                name, trustRoot=trust, clientCertificate=own
            )
            return verified

        return connect


def readable_tls_error(error: Exception) -> Exception:
    """Turn an error of TLS into a readable one; return any other error unchanged."""
    if isinstance(error, VerificationError):
        names = ", ".join(map(_expected_name, error.errors))
        return TLSRefusedError(
            None,
            f"its certificate is not for {names}; connect to a name that it is for, or set "
            "that name as the server's name",
        )
    if not isinstance(error, SSL.Error) or not error.args or not error.args[0]:
        return error
    reason = str(error.args[0][-1][-1])  # OpenSSL's errors, the outermost last
    if reason == "certificate verify failed":
        # OpenSSL's error is the same for both.
        what = "its certificate has expired, or is not signed by a trusted authority"
    elif "alert" in reason:
        what = "it refuses the client's certificate, or requires one"
    else:
        what = "TLS failed"
    return TLSRefusedError(None, f"{what} ({reason})")


def _expected_name(mismatch: Any) -> str:
    """The host name or IP address that service_identity did not find in the certificate."""
    wanted = mismatch.mismatched_id
    name = getattr(wanted, "hostname", None) or getattr(wanted, "ip", wanted)
    return name.decode() if isinstance(name, bytes) else str(name)


@implementer(IOpenSSLClientConnectionCreator)
class _AnyNameVerifier:
    """Accepts every certificate of the trusted authorities, whatever name is in it."""

    def __init__(self, name: str, trust: Any, own: PrivateCertificate | None) -> None:
        options: dict[str, Any] = {"trustRoot": trust or platformTrust()}
        if own is not None:
            options |= {"privateKey": own.privateKey.original, "certificate": own.original}
        self._context = CertificateOptions(**options).getContext()
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:  # noqa: N802, N803
        """The connection, which still sends the server name (SNI)."""
        connection = SSL.Connection(self._context, None)
        if not (isIPAddress(self._name) or isIPv6Address(self._name)):
            connection.set_tlsext_host_name(self._name.encode("idna"))
        return connection
