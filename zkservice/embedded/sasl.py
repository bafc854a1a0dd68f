"""The server's side of SASL DIGEST-MD5 (RFC 2831), as ZooKeeper uses it.

Source: SaslServerCallbackHandler.java, ZooKeeperSaslServer.java.  The names of service
and host are constants there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import md5
from hmac import compare_digest
from typing import Final

from zkservice.errors import AuthFailedError

REALM: Final = "zk-sasl-md5"
_URI: Final = f"zookeeper/{REALM}"
_FIELD: Final = re.compile(r'([\w-]+)=(?:"((?:[^"\\]|\\.)*)"|([^",]*))(?:,|$)')


class DigestMd5:
    """One exchange: a challenge, the client's response, the server's proof.

    Args:
        users: passwords by user name.
        nonce: a string that is never used again.
    """

    def __init__(self, users: Mapping[str, str], nonce: str) -> None:
        self._users = users
        self._nonce = nonce
        #: The name of the user, once it is proved.
        self.user: str | None = None

    def challenge(self) -> bytes:
        """The challenge that the client must respond to."""
        return (f'realm="{REALM}",nonce="{self._nonce}",charset=utf-8,algorithm=md5-sess').encode()

    def answer(self, response: bytes) -> bytes:
        """Check the client's response; returns the proof that the server knows the password too.

        Raises:
            AuthFailedError: it is wrong, there is no such user, or it is the second response.
        """
        if self.user is not None:
            raise AuthFailedError
        fields = _fields(response)
        name = fields.get("username", "")
        password = self._users.get(name)
        expected = self._proof(fields, name, password or "", "AUTHENTICATE:")
        is_first_use = fields.get("nonce") == self._nonce and fields.get("nc") == "00000001"
        given = fields.get("response", "").encode()
        if not compare_digest(expected.encode(), given) or password is None or not is_first_use:
            raise AuthFailedError
        if fields.get("digest-uri") != _URI or fields.get("qop", "auth") != "auth":
            raise AuthFailedError
        self.user = name
        return b"rspauth=" + self._proof(fields, name, password, ":").encode()

    def _proof(self, fields: Mapping[str, str], name: str, password: str, purpose: str) -> str:
        """The ``response-value`` of RFC 2831 2.1.2.1, whose names A1 and A2 are kept here."""
        cnonce = fields.get("cnonce", "")
        secret = md5(f"{name}:{fields.get('realm', REALM)}:{password}".encode()).digest()
        a1 = md5(secret + f":{self._nonce}:{cnonce}".encode()).hexdigest()
        a2 = md5(f"{purpose}{_URI}".encode()).hexdigest()
        return md5(f"{a1}:{self._nonce}:00000001:{cnonce}:auth:{a2}".encode()).hexdigest()


def read_users(text: str) -> dict[str, str]:
    """Read users and passwords: one line ``user:password`` each; ``#`` starts a comment line.

    Raises:
        ValueError: a line is invalid; the message has its number, and not its text, which may
            be a password.
    """
    users = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, password = line.partition(":")
        if not user or not colon or not password:
            raise ValueError(f"line {number} must be 'user:password'")
        users[user] = password
    return users


def _fields(response: bytes) -> dict[str, str]:
    try:
        text = response.decode()
    except UnicodeDecodeError:
        raise AuthFailedError from None
    return {
        name: re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
        for name, quoted, plain in _FIELD.findall(text)
    }
