"""Every exception of the package.

An error carries what the code that catches it needs: the path it is about, the server's
code, whether a lost request can have been carried out.  The order is that of the layers: the
server's errors, the client's, those of HTTP, of trees, of registrations, of recipes, and of the
process.
"""

from __future__ import annotations

from typing import ClassVar

# -- ZooKeeper -----------------------------------------------------------------


class ZooKeeperError(Exception):
    """An operation on ZooKeeper failed; the base class of the client's errors.

    Attributes:
        path: the znode of the operation, as the client names it; None if there is none.
        detail: replaces the general message of the class; None if there is nothing to add.
    """

    #: The message of an error that has no ``detail``.
    summary: ClassVar[str] = "the ZooKeeper operation failed"

    def __init__(self, path: str | None = None, detail: str | None = None) -> None:
        super().__init__(path, detail)
        self.path = path
        self.detail = detail

    def __str__(self) -> str:
        what = self.detail or self.summary
        return what if self.path is None else f"{self.path}: {what}"


class ProtocolError(ZooKeeperError):
    """The bytes are not a ZooKeeper packet, or not the expected one."""

    summary = "the bytes are not a valid ZooKeeper packet, or not the expected one"


class FrameSizeError(ProtocolError):
    """A frame announces a length that is negative or over the limit."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(None, f"a frame announces {size} bytes; the limit is {limit}")
        self.size, self.limit = size, limit


class UnwritableError(ZooKeeperError, ValueError):
    """A field of a request has a value of the wrong type, or one that is out of range.

    The value is not shown: it can be a credential.
    """

    def __init__(self, record: str, field: str, found: str, problem: str) -> None:
        super().__init__(None, f"{field} of {record} has an invalid {found}: {problem}")
        self.record, self.field = record, field


class ImpossibleEventError(ZooKeeperError):
    """The event cannot happen in the session's present state: a bug of the caller."""


class InvalidPathError(ZooKeeperError, ValueError):
    """The string is not a valid znode path."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(None, f"{path!r} is not a valid znode path: {reason}")


class InvalidHostsError(ZooKeeperError, ValueError):
    """The connection string is not ``host:port,host:port/chroot``."""


class ServerError(ZooKeeperError):
    """The server replied with an error code (``KeeperException.Code``).

    The attribute ``code`` is that number.
    """

    code: ClassVar[int] = 0
    _by_code: ClassVar[dict[int, type[ServerError]]] = {}

    def __init_subclass__(cls) -> None:
        if cls._by_code.setdefault(cls.code, cls) is not cls:
            raise TypeError(f"error code {cls.code} is already taken")

    @staticmethod
    def from_code(code: int, path: str | None = None) -> ServerError:
        """The error for a reply header's ``err``; `UnknownCodeError` for an unknown code."""
        known = ServerError._by_code.get(code)
        return UnknownCodeError(code, path) if known is None else known(path)


class UnknownCodeError(ServerError):
    """The server replied with a code that this version does not know."""

    code = -10_000  # never sent; the instance carries the real one

    def __init__(self, code: int, path: str | None = None) -> None:
        super().__init__(path, f"the server replied with the unknown error code {code}")
        self.code = code  # type: ignore[misc]


class SystemServerError(ServerError):
    """The server had an internal error."""

    code = -1
    summary = "the server had an internal error (SYSTEMERROR)"


class RuntimeInconsistencyError(ServerError):
    """In a transaction: not attempted, because an earlier operation failed."""

    code = -2
    summary = "not attempted: an earlier operation of the transaction failed"


class DataInconsistencyError(ServerError):
    """The server found its data inconsistent."""

    code = -3
    summary = "the server found its data inconsistent"


class ConnectionLossError(ServerError):
    """The connection was lost while the request was outstanding.

    ``maybe_applied`` is False if the request certainly did not reach the server; then it is
    safe to repeat.
    """

    code = -4
    summary = "the connection to ZooKeeper was lost"

    def __init__(
        self, path: str | None = None, detail: str | None = None, *, maybe_applied: bool = True
    ) -> None:
        super().__init__(path, detail)
        self.maybe_applied = maybe_applied

    def __str__(self) -> str:
        fate = "may have been carried out" if self.maybe_applied else "was not carried out"
        return f"{super().__str__()}; the request {fate}"


class MarshallingError(ServerError):
    """The server could not read the request, or its reply would be too large."""

    code = -5
    summary = "the server could not read the request, or its reply would be too large"


class UnimplementedError(ServerError):
    """The server is too old for the operation, or it is switched off there."""

    code = -6
    summary = "the server does not offer this operation"


class OperationTimeoutError(ServerError):
    """The server did not reply within the call's time-out.

    ``maybe_applied`` is False if the request was still waiting for a connection.  It was
    dropped then, and is safe to repeat.
    """

    code = -7
    summary = "no reply within the time-out"

    def __init__(
        self, path: str | None = None, detail: str | None = None, *, maybe_applied: bool = True
    ) -> None:
        super().__init__(path, detail)
        self.maybe_applied = maybe_applied

    def __str__(self) -> str:
        fate = "may still be carried out" if self.maybe_applied else "was not sent"
        return f"{super().__str__()}; the request {fate}"


class BadArgumentsError(ServerError):
    """The server refuses the arguments: a path, flag or value is invalid."""

    code = -8
    summary = "the server refuses the arguments"


class NewConfigNoQuorumError(ServerError):
    """No quorum of the new configuration is up to date."""

    code = -13
    summary = "no quorum of the new configuration is connected and up to date"


class ReconfigInProgressError(ServerError):
    """Another reconfiguration is in progress."""

    code = -14
    summary = "another reconfiguration is in progress"


class NoNodeError(ServerError):
    """The znode does not exist."""

    code = -101
    summary = "the znode does not exist"


class NoAuthError(ServerError):
    """The znode's ACL does not allow the operation to this session."""

    code = -102
    summary = "the znode's ACL does not allow this"


class BadVersionError(ServerError):
    """The znode's version is not the one that the request expects."""

    code = -103
    summary = "the znode has another version"


class NoChildrenForEphemeralsError(ServerError):
    """An ephemeral znode cannot have children."""

    code = -108
    summary = "an ephemeral znode cannot have children"


class NodeExistsError(ServerError):
    """The znode exists already."""

    code = -110
    summary = "the znode exists already"


class NotEmptyError(ServerError):
    """The znode has children."""

    code = -111
    summary = "the znode has children"


class SessionExpiredError(ServerError):
    """The session is over: its ephemerals and watches are gone."""

    code = -112
    summary = "the session has expired: its ephemeral znodes and watches are gone"


class InvalidACLError(ServerError):
    """The ACL is empty, or names a scheme or id that the server does not know."""

    code = -114
    summary = "the ACL is not valid"


class AuthFailedError(ServerError):
    """The server refused the credentials, and closes the connection."""

    code = -115
    summary = "the server refused the credentials"


class SessionMovedError(ServerError):
    """The session has moved to another server."""

    code = -118
    summary = "the session has moved to another server"


class NotReadOnlyError(ServerError):
    """The server is read-only at the moment."""

    code = -119
    summary = "the server is read-only at the moment"


class EphemeralOnLocalSessionError(ServerError):
    """A local session cannot own an ephemeral znode."""

    code = -120
    summary = "a local session cannot own an ephemeral znode"


class NoWatcherError(ServerError):
    """There is no such watch."""

    code = -121
    summary = "there is no such watch"


class RequestTimeoutError(ServerError):
    """The server did not complete the request in time."""

    code = -122
    summary = "the server did not complete the request in time"


class ReconfigDisabledError(ServerError):
    """Reconfiguration is switched off on the server."""

    code = -123
    summary = "reconfiguration is switched off on the server"


class SessionClosedRequireSaslAuthError(ServerError):
    """The server accepts only sessions that have authenticated with SASL."""

    code = -124
    summary = "the server accepts only sessions that have authenticated with SASL"


class QuotaExceededError(ServerError):
    """The write would exceed an enforced quota."""

    code = -125
    summary = "the request would exceed a quota"


class ThrottledOpError(ServerError):
    """The server is overloaded and did not carry the request out: safe to repeat later."""

    code = -127
    summary = "the server is overloaded and did not carry the request out"


class ClientClosedError(ZooKeeperError):
    """``connect`` was not called, or ``close`` was; calls that were waiting fail with it, too."""

    summary = "the ZooKeeper client is closed: connect() was not called, or close() was"


class ConnectTimeoutError(ZooKeeperError):
    """No server could be reached within the time-out of ``connect``."""

    summary = "no ZooKeeper server could be reached in time"


class TLSRefusedError(ZooKeeperError):
    """The TLS handshake failed: one side does not trust the certificate of the other."""

    summary = "the TLS handshake failed"


class SilentCloseError(ZooKeeperError):
    """A server closed the connection during the handshake without a reply.

    A server does so when one of the two uses TLS and the other does not, when the client has
    seen newer data than the server has, when the server is not serving, and when it has too many
    connections.
    """

    summary = "the server closed the connection during the handshake without a reply"


class SaslError(ZooKeeperError):
    """SASL failed: the server did not prove its identity, or its tokens are invalid."""


class ForkedError(ZooKeeperError):
    """A client was used in another process than the one that made it."""

    summary = (
        "this client was made in another process; after a fork, make a new one "
        "(in startService, not in makeService)"
    )


class RequestTooLargeError(ZooKeeperError, ValueError):
    """The request is over the server's size limit, and was not sent."""

    def __init__(self, path: str | None, size: int, limit: int) -> None:
        super().__init__(path, f"a request of {size} bytes; the server takes at most {limit}")
        self.size, self.limit = size, limit


class ReplyTooLargeError(ZooKeeperError):
    """The reply is over the client's size limit.  The operation was done; the reply is lost."""

    def __init__(self, path: str | None, size: int, limit: int) -> None:
        super().__init__(path, f"a reply of {size} bytes; this client takes at most {limit}")
        self.size, self.limit = size, limit


class TransactionFailedError(ZooKeeperError):
    """A transaction failed: none of its operations was carried out.

    ``failed`` is the index of the operation that failed, and ``__cause__`` its error.
    ``results`` has an entry for each operation: None for those before it, which were
    rolled back, and errors from it on.
    """

    def __init__(self, failed: int, results: tuple[Exception | None, ...]) -> None:
        cause = results[failed]
        super().__init__(None, f"operation {failed} of the transaction failed: {cause}")
        self.failed, self.results = failed, results
        self.__cause__ = cause


# -- HTTP ----------------------------------------------------------------------


class HTTPError(Exception):
    """Something went wrong between an HTTP client and the application."""


class RequestRefusedError(HTTPError):
    """The client's bytes break a rule or a limit; no more of them are read.

    ``status`` is the status code of the response, ``rule`` the sentence for the client.
    """

    def __init__(self, status: int, rule: str) -> None:
        super().__init__(f"{status}: {rule}")
        self.status, self.rule = status, rule


class BodyStorageError(RequestRefusedError):
    """The server has no room to keep a request body.

    ``status`` is 503 or 507, ``detail`` tells the administrator what has failed.
    """

    def __init__(self, status: int, rule: str, detail: str) -> None:
        super().__init__(status, rule)
        self.detail = detail


class BadResponseError(HTTPError, ValueError):
    """The application's status, header or block is not what PEP 3333 allows."""


class ClientGoneError(HTTPError):
    """The client has disconnected, so the rest of the response cannot be sent."""


class ResponseStorageError(HTTPError):
    """The part of a response that a slow client has not taken yet cannot be stored."""


class ViewError(HTTPError):
    """A view responds with another status than 200.

    ``status`` is like ``404 Not Found``, ``message`` the text to show, ``headers`` are
    added to the response.
    """

    def __init__(
        self, status: str, message: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(status, message)
        self.status, self.message, self.headers = status, message, headers


# -- The tree language ---------------------------------------------------------


class TreeSyntaxError(ValueError):
    """A tree's text cannot be read; ``line`` and ``column`` count from 1."""

    def __init__(self, line: int, column: int, problem: str, text: str = "") -> None:
        super().__init__(line, column, problem, text)
        self.line, self.column, self.problem, self.text = line, column, problem, text

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= 60 else f"{self.text[:57]}..."
        quoted = f": {shown!r}" if shown else ""
        return f"line {self.line}, column {self.column}: {self.problem}{quoted}"


class TreeValueError(ValueError):
    """A node cannot store the value, or the text is not a literal.

    ``offset`` is the index of the first invalid character in the text.
    """

    def __init__(self, problem: str, offset: int = 0) -> None:
        super().__init__(problem)
        self.problem, self.offset = problem, offset


class FailedConnectError(ZooKeeperError):
    """No ZooKeeper server accepted a session; ``connection_string`` says which were tried."""

    def __init__(self, connection_string: str, reason: str) -> None:
        super().__init__(None, f"Can't connect to ZooKeeper at {connection_string!r}: {reason}")
        self.connection_string = connection_string


class PlanFailedError(ZooKeeperError):
    """A change of a plan was refused; the changes before it were made.

    ``path`` is the node's, ``cause`` the refusal, ``done`` and ``total`` count changes.
    To make the remaining changes, make a new plan and apply it.
    """

    def __init__(self, path: str | None, cause: Exception, done: int, total: int) -> None:
        made = f"{done} of {total} changes were made"
        super().__init__(path, f"{self._problem(cause)} ({made})")
        self.cause, self.done, self.total = cause, done, total

    @staticmethod
    def _problem(cause: Exception) -> str:
        return getattr(cause, "detail", None) or getattr(cause, "summary", None) or str(cause)


class TreeChangedError(PlanFailedError):
    """Another client changed a node after the plan was made; its change is kept."""

    @staticmethod
    def _problem(cause: Exception) -> str:
        return f"another client changed the node meanwhile: {PlanFailedError._problem(cause)}"


class NotAtomicError(ZooKeeperError):
    """A plan has changes that ZooKeeper's transactions cannot make."""

    summary = (
        "an access control list has to change, which no transaction can do; "
        "import without atomic, or set the list first"
    )


class LinkLoopError(ZooKeeperError):
    """Links form a loop; ``paths`` are the paths on the way around it.

    The message of a long loop names its first and its last paths.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        shown = paths if len(paths) <= 10 else (*paths[:5], "...", *paths[-4:])
        super().__init__(None, "the links form a loop: " + " -> ".join(shown))
        self.paths = paths


class NoPropertyError(ZooKeeperError):
    """A node lacks the property that a link names."""


class CancelWatch(Exception):  # noqa: N818, the name that programs raise it by
    """A callback of a live view raises this to cancel its subscription."""


class BadPropertyLinkError(ZooKeeperError):
    """A property link leads nowhere, or back to itself."""

    def __init__(self, path: str, name: str, target: object, cause: Exception) -> None:
        super().__init__(path, f"{cause} (in {name!r}: {target!r})")
        self.name, self.target, self.cause = name, target, cause


# -- Registration --------------------------------------------------------------


class AddressError(ValueError):
    """The text is not ``host:port``."""


class FormatError(ValueError):
    """A znode is not a service instance in any of the expected formats, or its data is invalid."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name[:100]!r}: {problem}")
        self.name, self.problem = name, problem


class RenderError(ValueError):
    """The text for a consumer cannot be made: a template raised an error."""


class PublishError(Exception):
    """A list of providers could not be delivered to its consumer; a retry may succeed."""


class NoProviderError(ZooKeeperError):
    """No provider is registered below the znode."""

    summary = "no provider is registered here"


class UnregisteredError(ZooKeeperError):
    """The registration was withdrawn while a caller waited for it."""

    summary = "the registration was withdrawn"


# -- Recipes -------------------------------------------------------------------


class LockTimeoutError(ZooKeeperError):
    """The lock or lease was not acquired within the time-out."""

    summary = "not acquired within the time-out"


class BarrierTimeoutError(ZooKeeperError):
    """The barrier was not passed within the time-out."""

    summary = "the barrier was not passed within the time-out"


class LeaseLostError(ZooKeeperError):
    """A lock or lease was lost: its session has expired, or its node was deleted."""

    summary = "the lock or lease is no longer held"


class InconsistentLeasesError(ZooKeeperError, ValueError):
    """Other clients use the semaphore with a different number of leases."""

    def __init__(self, path: str, wanted: int, found: int) -> None:
        super().__init__(path, f"the semaphore has {found} leases, expected {wanted}")
        self.wanted, self.found = wanted, found


# -- The service ---------------------------------------------------------------


class ConfigurationError(Exception):
    """The configuration is invalid or cannot be used; the message says what to do about it."""


class DataDirectoryError(ConfigurationError):
    """The embedded ZooKeeper cannot use its data directory."""

    def __init__(self, folder: object, reason: str) -> None:
        super().__init__(f"cannot use the data directory {folder}: {reason}")


class StartError(SystemExit, Exception):
    """The process cannot start; the user sees only the message, which is one line.

    It ends the interpreter with exit code 1 and without a traceback.  Since it is an
    ordinary exception as well, a daemon that twistd starts reports it to its parent.
    """


class ApplicationLoadError(ConfigurationError):
    """The WSGI application could not be loaded."""


class UnhealthyError(Exception):
    """The application responds, but its health check fails."""


# -- Worker processes ----------------------------------------------------------


class MessageError(Exception):
    """The bytes between a parent process and a worker are not a message of this release."""


class WorkerUnreachableError(Exception):
    """A worker process has ended, refuses a request, or does not reply."""


class WorkerSilentError(WorkerUnreachableError):
    """A worker process runs, but its reactor neither reads nor replies."""


# -- Tests ---------------------------------------------------------------------


class NotStartedError(Exception):
    """A server for tests is used while it is not running."""

    def __init__(self) -> None:
        super().__init__("the server is not running; call start() first")
