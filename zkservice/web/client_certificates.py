"""Mutual TLS: a server endpoint that asks clients for a certificate, and the certificate's fields.

The endpoint string is Twisted's ``ssl:`` with the authorities whose clients are accepted::

    mtls:443:privateKey=site.pem:clientCA=clients.pem

Twisted's own ``ssl:`` has no such option.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.interfaces import IStreamServerEndpoint, IStreamServerEndpointStringParser
from twisted.internet.ssl import CertificateOptions
from zope.interface import implementer

from zkservice.errors import ConfigurationError
from zkservice.pem import read_certificates, read_key

__all__ = ["MutualTLSParser", "client_certificate", "mutual_tls"]


def mutual_tls(
    private_key: str,
    client_ca: str,
    certificate: str | None = None,
    chain: str | None = None,
    *,
    optional: bool = False,
) -> CertificateOptions:
    """The TLS options of a server that asks its clients for certificates.

    Args:
        private_key: PEM file of the server's key.
        client_ca: PEM file of the authorities that sign clients' certificates; no other
            authority is trusted, not even the system's.
        certificate: PEM file of the server's certificate and its intermediate certificates; None:
            they are in the key's file.
        chain: PEM file of more intermediate certificates.
        optional: accept clients without a certificate, too.

    Raises:
        ConfigurationError: a file has invalid contents.
        OSError: a file cannot be read.
    """
    own = read_certificates(certificate or private_key)
    intermediate = own[1:] + (read_certificates(chain) if chain else [])
    key = read_key(private_key)
    options = CertificateOptions(
        privateKey=key.original,
        certificate=own[0].original,
        extraCertChain=[each.original for each in intermediate],
        verify=True,
        caCerts=[each.original for each in read_certificates(client_ca)],
        requireCertificate=not optional,
    )
    try:
        # The server sends these names: clients with several certificates choose by them.
        options.getContext().load_client_ca(client_ca.encode())
    except SSL.Error:
        raise ConfigurationError(
            f"the key in {private_key} does not match the certificate in "
            f"{certificate or private_key}"
        ) from None
    return options


@implementer(IStreamServerEndpointStringParser)
class MutualTLSParser:
    """Makes the endpoint of a description that begins with ``mtls:``."""

    prefix = "mtls"

    def parseStreamServer(  # noqa: N802 - Twisted's name
        self, reactor: Any, *args: Any, **kwargs: Any
    ) -> IStreamServerEndpoint:
        """``mtls:PORT:privateKey=FILE:clientCA=FILE``, and the other arguments of ``ssl:``.

        ``optional=yes`` accepts clients without a certificate, too.

        Raises:
            ConfigurationError: an argument is missing or unknown, or a file has invalid contents.
            OSError: a file cannot be read.
        """
        try:
            signature(_endpoint).bind(reactor, *args, **kwargs)
        except TypeError as error:
            raise ConfigurationError(f"mtls: {error}") from None
        return _endpoint(reactor, *args, **kwargs)


def _endpoint(
    reactor: Any,
    port: str,
    *,
    clientCA: str = "",  # noqa: N803 - named as Twisted names the others
    privateKey: str = "server.pem",  # noqa: N803
    certKey: str | None = None,  # noqa: N803
    extraCertChain: str | None = None,  # noqa: N803
    interface: str = "",
    backlog: str = "50",
    optional: str = "no",
) -> IStreamServerEndpoint:
    if not clientCA:
        raise ConfigurationError("mtls: clientCA=FILE is missing: the CAs of the clients")
    if optional not in ("yes", "no"):
        raise ConfigurationError(f"mtls: optional must be yes or no, not {optional!r}")
    if not (port.isdecimal() and backlog.isdecimal()):
        raise ConfigurationError("mtls: the port and the backlog must be numbers")
    options = mutual_tls(privateKey, clientCA, certKey, extraCertChain, optional=optional == "yes")
    endpoint: IStreamServerEndpoint = SSL4ServerEndpoint(
        reactor, int(port), options, int(backlog), interface
    )
    return endpoint


def client_certificate(transport: Any) -> Sequence[tuple[str, str]]:
    """The keys of environ about a client's certificate; empty if the client has sent none.

    The names are those of Apache's mod_ssl: ``SSL_CLIENT_VERIFY`` is ``SUCCESS``,
    ``SSL_CLIENT_S_DN`` and ``SSL_CLIENT_I_DN`` the subject and the issuer (RFC 4514),
    ``SSL_CLIENT_S_DN_CN`` the subject's common name if it has one, ``SSL_CLIENT_M_SERIAL`` the
    serial number in hexadecimal, ``SSL_CLIENT_CERT`` the certificate (PEM).

    Args:
        transport: provides ISSLTransport.
    """
    # A certificate here was verified: OpenSSL's servers ask for one only if they verify it, and
    # end the handshake if it is invalid (SSL_CTX_set_verify).
    peer = transport.getPeerCertificate()
    if peer is None:
        return ()
    certificate: x509.Certificate = peer.to_cryptography()
    subject = certificate.subject
    common_names = subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return (
        ("SSL_CLIENT_VERIFY", "SUCCESS"),
        ("SSL_CLIENT_S_DN", _native(subject.rfc4514_string())),
        *(("SSL_CLIENT_S_DN_CN", _native(str(each.value))) for each in common_names[:1]),
        ("SSL_CLIENT_I_DN", _native(certificate.issuer.rfc4514_string())),
        ("SSL_CLIENT_M_SERIAL", f"{certificate.serial_number:X}"),
        ("SSL_CLIENT_CERT", certificate.public_bytes(Encoding.PEM).decode("ascii")),
    )


def _native(text: str) -> str:
    """UTF-8 bytes as latin-1 text, the form of all text in environ (PEP 3333)."""
    return text.encode().decode("latin-1")
