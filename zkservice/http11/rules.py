"""The rules of request heads, with the response to a request that breaks one of them."""

from __future__ import annotations

from typing import Final, NamedTuple

from zkservice.errors import RequestRefusedError

__all__ = ["Rule"]


class Rule(NamedTuple):
    """A status code, and the rule as text for the client that broke it."""

    status: int
    text: str

    def refusal(self) -> RequestRefusedError:
        """Return a new error: one that was raised before would keep its traceback."""
        return RequestRefusedError(self.status, self.text)


# Request lines

UNKNOWN_METHOD: Final = Rule(501, "this server does not know the request method")
NO_METHOD: Final = Rule(400, "a request must begin with its method")
CONNECT: Final = Rule(501, "CONNECT is for proxies, and this server is not one")
WRONG_VERSION: Final = Rule(505, "this server speaks HTTP/1.1 and HTTP/1.0")
BAD_LINE: Final = Rule(400, "the request line must be a method, a target and HTTP/1.1")
FRAGMENT: Final = Rule(400, "a request target has no fragment (#)")
UNESCAPED: Final = Rule(400, "a byte of the request target must be percent-encoded")
BAD_TARGET: Final = Rule(400, "the request target must be a path or an http URL")
BAD_HOST: Final = Rule(
    400, "the host must be a name or an address, with or without a port up to 65535"
)

# Header fields

BAD_NAME: Final = Rule(400, "the request head is malformed: a field must begin with NAME:")
BAD_VALUE: Final = Rule(400, "the request head is malformed: a field value has a control character")
BAD_END: Final = Rule(400, "the request head is malformed: a line must end in CR LF")
NO_HOST: Final = Rule(400, "an HTTP/1.1 request needs a Host field")
BAD_LENGTH: Final = Rule(400, "Content-Length must be a number")
BAD_CODING: Final = Rule(501, "the only transfer coding here is chunked")
CODING_IN_1_0: Final = Rule(400, "HTTP/1.0 has no transfer codings")
TWO_FRAMINGS: Final = Rule(400, "Content-Length and Transfer-Encoding exclude each other")
BAD_EXPECTATION: Final = Rule(417, "the only expectation here is 100-continue")


def target_too_long(most: int) -> Rule:
    """Return the rule for targets of more than ``most`` bytes."""
    return Rule(414, f"the request target is over {most} bytes")


def too_many_fields(most: int) -> Rule:
    """Return the rule for heads of more than ``most`` fields."""
    return Rule(431, f"more than {most} header fields")


def head_too_long(most: int) -> Rule:
    """Return the rule for heads of more than ``most`` bytes."""
    return Rule(431, f"the request head is over {most} bytes")


def body_too_long(most: int) -> Rule:
    """Return the rule for bodies of more than ``most`` bytes."""
    return Rule(413, f"the body is over the limit of {most} bytes")


def repeated(name: bytes) -> Rule:
    """Return the rule for a field that may occur only once."""
    return Rule(400, f"the field {name.decode('latin-1')} occurs twice")
