"""SASL DIGEST-MD5, as ZooKeeper's servers with a JAAS configuration speak it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from puresasl.client import SASLClient, SASLError

from zkservice.client.calls import REPLY_HEADER_SIZE, call_for
from zkservice.client.connection import Connection
from zkservice.errors import AuthFailedError, SaslError
from zkservice.wire.jute import decode
from zkservice.wire.records import GetSASLRequest, SetSASLResponse

# SaslServerPrincipal and ZooKeeperSaslServer.java: constants, whatever the host is called.
_SERVICE: Final = "zookeeper"
_HOST: Final = "zk-sasl-md5"
# The server reports the reason only in its own log (ZooKeeperSaslServer.java).
_REFUSED: Final = (
    "the server refused the user or the password; or it refuses DIGEST-MD5, as ZooKeeper 3.9 does "
    "unless it is started with -Dzookeeper.fips-mode=false"
)


@dataclass(frozen=True)
class DigestMD5:
    """A user of the server's JAAS file."""

    username: str  #: its name
    password: str = field(repr=False)  #: its password


async def negotiate(connection: Connection, user: DigestMD5) -> None:
    """Authenticate a connection, and verify that the server knows the password, too.

    Raises:
        AuthFailedError: the server refuses the user.
        SaslError: the server has no SASL, or did not prove that it knows the password.
    """
    dialogue = SASLClient(
        _HOST,
        service=_SERVICE,
        mechanism="DIGEST-MD5",
        username=user.username,
        password=user.password,
        qops=[b"auth"],
    )
    token = b""
    try:
        while True:
            challenge = await connection.call(
                call_for(
                    GetSASLRequest(token),
                    None,
                    lambda reply: decode(SetSASLResponse, reply, REPLY_HEADER_SIZE).token,
                )
            )
            if challenge is None:
                raise SaslError(None, "the server is not configured for SASL (it has no JAAS file)")
            token = dialogue.process(challenge)
            if dialogue.complete:
                return
    except AuthFailedError as error:
        raise AuthFailedError(None, _REFUSED) from error
    except SASLError as error:
        raise SaslError(None, f"the SASL exchange failed: {error}") from error
    finally:
        dialogue.dispose()
