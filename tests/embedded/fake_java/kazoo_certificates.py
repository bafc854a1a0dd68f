"""A pytest plugin: certificates for kazoo's harness, which asks pyOpenSSL for what it dropped."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import jks  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from kazoo.testing.common import ZookeeperCluster

DAY = timedelta(days=1)


def name(text: str) -> x509.Name:
    """A subject."""
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def key() -> rsa.RSAPrivateKey:
    """A private key."""
    return rsa.generate_private_key(65537, 2048)


def certificate(
    subject: str, public: Any, issuer: str, signer: rsa.RSAPrivateKey, authority: bool
) -> x509.Certificate:
    """A certificate for a day."""
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )


def pem(private: rsa.RSAPrivateKey) -> bytes:
    """A key as text."""
    return private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def generate(cluster: Any) -> None:
    """Do what ``perform_ssl_certs_generation`` does."""
    if cluster._ssl_configuration:
        return
    ca_key, server_key, client_key = key(), key(), key()
    ca = certificate("ca.kazoo.org", ca_key.public_key(), "ca.kazoo.org", ca_key, True)
    server = certificate("localhost", server_key.public_key(), "ca.kazoo.org", ca_key, False)
    client = certificate("client", client_key.public_key(), "ca.kazoo.org", ca_key, False)
    trusted = jks.TrustedCertEntry.new("kazoo ca", ca.public_bytes(Encoding.DER))
    raw = server_key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    entry = jks.PrivateKeyEntry.new(
        "server cert", [server.public_bytes(Encoding.DER)], raw, "rsa_raw"
    )
    cluster._ssl_configuration = {
        "ca_cert_pem": ca.public_bytes(Encoding.PEM),
        "client_cert_pem": client.public_bytes(Encoding.PEM),
        "client_key_pem": pem(client_key),
        "truststore": jks.KeyStore.new("jks", [trusted]),
        "keystore": jks.KeyStore.new("jks", [entry]),
    }


ZookeeperCluster.perform_ssl_certs_generation = generate
