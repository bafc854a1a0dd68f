"""The environ of PEP 3333, from a request and its connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from twisted.internet.interfaces import ISSLTransport

from zkservice.http11 import Request
from zkservice.privates import reads_proxy_header
from zkservice.web.files import FileWrapper
from zkservice.web.printable import printable

__all__ = ["ConnectionInfo", "connection_info", "fill_environ", "path_info", "server_environ"]


class ConnectionInfo(NamedTuple):
    """The addresses of a connection, as CGI names them (RFC 3875 4.1)."""

    server_name: str
    server_port: str
    remote_addr: str
    remote_port: str
    scheme: str
    #: The keys of environ about the client's certificate.
    certificate: Sequence[tuple[str, str]] = ()
    #: Whether the client's address comes from a PROXY header.
    proxied: bool = False


def server_environ(software: str, multithread: bool) -> dict[str, Any]:
    """Return the part that is the same for all requests."""
    return {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": software,
        "SCRIPT_NAME": "",
        "wsgi.version": (1, 0),
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        # the body is complete before the application starts, so its end is an end of file
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
    }


def fill_environ(
    environ: dict[str, Any],
    request: Request,
    info: ConnectionInfo,
    disconnected: Callable[[], bool],
) -> None:
    """Add the keys of one request, except ``wsgi.errors``."""
    environ.update(request.fields)
    target = request.target.decode("latin-1")
    environ["REQUEST_METHOD"] = request.method
    environ["PATH_INFO"] = path_info(request.path)
    environ["QUERY_STRING"] = request.query.decode("latin-1")
    environ["REQUEST_URI"] = target
    environ["RAW_URI"] = target
    environ["SERVER_PROTOCOL"] = request.protocol
    (
        environ["SERVER_NAME"],
        environ["SERVER_PORT"],
        environ["REMOTE_ADDR"],
        environ["REMOTE_PORT"],
        environ["wsgi.url_scheme"],
        certificate,
        _,
    ) = info
    if certificate:
        environ.update(certificate)
    environ["wsgi.input"] = request.body
    environ["zkservice.client_disconnected"] = disconnected
    environ["waitress.client_disconnected"] = disconnected
    if request.chunked:
        # a chunked body is complete by now, so its length is known: applications rely on it
        environ["CONTENT_LENGTH"] = str(request.content_length)
        environ.pop("HTTP_TRANSFER_ENCODING", None)


def path_info(path: bytes) -> str:
    """Return the path's bytes, percent-decoded, as latin-1 text (PEP 3333)."""
    if b"%" in path:
        path = unquote_to_bytes(path)
    return path.decode("latin-1")


def connection_info(transport: Any) -> ConnectionInfo:
    """The addresses of a transport's connection; those of a Unix socket are this machine's."""
    host, peer = transport.getHost(), transport.getPeer()
    secure = ISSLTransport.providedBy(transport)
    return ConnectionInfo(
        getattr(host, "host", "localhost"),
        str(getattr(host, "port", 443 if secure else 80)),
        printable(getattr(peer, "host", "127.0.0.1")),  # a PROXY header may hold any text
        str(getattr(peer, "port", "")),
        "https" if secure else "http",
        _certificate(transport) if secure else (),
        reads_proxy_header(transport),
    )


def _certificate(transport: Any) -> Sequence[tuple[str, str]]:
    # Imported with the first TLS connection: others need no OpenSSL.
    from zkservice.web.client_certificates import client_certificate

    return client_certificate(transport)
