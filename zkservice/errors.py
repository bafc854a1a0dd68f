"""Every exception of the package, in one leaf module that imports nothing of it.

An error carries what its catcher must decide: the path it is about, the server's
code, whether a lost request can have been carried out.  The order of the sections
is the order of the layers.
"""

from __future__ import annotations

from typing import ClassVar

# -- ZooKeeper -----------------------------------------------------------------


class ZooKeeperError(Exception):
    """Something that was asked of ZooKeeper failed."""

    #: What the class says when the raiser has nothing to add.
    summary: ClassVar[str] = "the ZooKeeper operation failed"

    def __init__(self, path: str | None = None, detail: str | None = None) -> None:
        super().__init__(path, detail)
        self.path = path
        self.detail = detail

    def __str__(self) -> str:
        what = self.detail or self.summary
        return what if self.path is None else f"{self.path}: {what}"


class ProtocolError(ZooKeeperError):
    """Bytes that are no ZooKeeper packet, or not the one that was due."""

    summary = "the bytes are not what the ZooKeeper protocol allows here"


class FrameSizeError(ProtocolError):
    """A frame announces a length that is negative or over the limit."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(None, f"a frame of {size} bytes; the limit is {limit}")
        self.size, self.limit = size, limit


class UnwritableError(ZooKeeperError, ValueError):
    """A field of a request holds what it cannot carry: text for bytes, a number too large.

    The value is not shown: it can be a credential.
    """

    def __init__(self, record: str, field: str, found: str, problem: str) -> None:
        super().__init__(None, f"{field} of {record} cannot be this {found}: {problem}")
        self.record, self.field = record, field


class ImpossibleEventError(ZooKeeperError):
    """A session was told something that cannot happen in its state: a bug of the caller."""


class InvalidPathError(ZooKeeperError, ValueError):
    """The string is no znode path."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(None, f"{path!r} is no znode path: {reason}")


class InvalidHostsError(ZooKeeperError, ValueError):
    """The connection string is not ``host:port,host:port/chroot``."""


class ServerError(ZooKeeperError):
    """The server answered with an error code (``KeeperException.Code``)."""

    code: ClassVar[int] = 0
    _by_code: ClassVar[dict[int, type[ServerError]]] = {}

    def __init_subclass__(cls) -> None:
        if cls._by_code.setdefault(cls.code, cls) is not cls:
            raise TypeError(f"error code {cls.code} is already taken")

    @staticmethod
    def from_code(code: int, path: str | None = None) -> ServerError:
        """The error for a reply header's ``err``; an unknown code is an error too, no crash."""
        known = ServerError._by_code.get(code)
        return UnknownCodeError(code, path) if known is None else known(path)


class UnknownCodeError(ServerError):
    """The server answered with a code that this version has no name for."""

    code = -10_000  # never sent; the instance carries the real one

    def __init__(self, code: int, path: str | None = None) -> None:
        super().__init__(path, f"the server answered with the unknown error code {code}")
        self.code = code  # type: ignore[misc]


class SystemServerError(ServerError):
    """The server failed inside."""

    code = -1
    summary = "the server failed inside (SYSTEMERROR)"


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

    ``maybe_applied`` is False when the request certainly never reached the server:
    then it is safe to repeat.
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
    """No answer within the call's time-out.

    ``maybe_applied`` is False when the request was still waiting for a connection: then
    it was dropped, and is safe to repeat.
    """

    code = -7
    summary = "no answer within the time-out"

    def __init__(
        self, path: str | None = None, detail: str | None = None, *, maybe_applied: bool = True
    ) -> None:
        super().__init__(path, detail)
        self.maybe_applied = maybe_applied

    def __str__(self) -> str:
        fate = "may still be carried out" if self.maybe_applied else "was not sent"
        return f"{super().__str__()}; the request {fate}"


class BadArgumentsError(ServerError):
    """The server refuses the arguments: a bad path, flag or value."""

    code = -8
    summary = "the server refuses the arguments"


class NewConfigNoQuorumError(ServerError):
    """No quorum of the new configuration is up to date."""

    code = -13
    summary = "no quorum of the new configuration is connected and up to date"


class ReconfigInProgressError(ServerError):
    """Another reconfiguration is going on."""

    code = -14
    summary = "another reconfiguration is in progress"


class NoNodeError(ServerError):
    """The znode does not exist."""

    code = -101
    summary = "the znode does not exist"


class NoAuthError(ServerError):
    """The znode's ACL does not allow it to this session."""

    code = -102
    summary = "the znode's ACL does not allow this"


class BadVersionError(ServerError):
    """The znode has another version than the one that was named."""

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
    """The server did not answer the request in time."""

    code = -122
    summary = "the server did not answer in time"


class ReconfigDisabledError(ServerError):
    """Reconfiguration is switched off on the server."""

    code = -123
    summary = "reconfiguration is switched off on the server"


class SessionClosedRequireSaslAuthError(ServerError):
    """The server takes only SASL-authenticated sessions."""

    code = -124
    summary = "the server takes only authenticated sessions"


class QuotaExceededError(ServerError):
    """The write would exceed an enforced quota."""

    code = -125
    summary = "the write would exceed the quota"


class ThrottledOpError(ServerError):
    """The server is overloaded and did not carry the request out: safe to repeat later."""

    code = -127
    summary = "the server is overloaded and did not carry the request out"


class ClientClosedError(ZooKeeperError):
    """The client was closed by its owner, or never connected."""

    summary = "the ZooKeeper client is closed; connect() opens it"


class ConnectTimeoutError(ZooKeeperError):
    """No server could be reached within the time-out of ``connect``."""

    summary = "no ZooKeeper server could be reached in time"


class TLSRefusedError(ZooKeeperError):
    """We do not trust the server's certificate, or the server does not trust ours."""

    summary = "TLS failed"


class SilentCloseError(ZooKeeperError):
    """A server hung up on the handshake without a word.

    It does so when the client has seen newer data than it has, when it is not serving,
    and when it has too many connections.
    """

    summary = "the server hung up on the handshake without an answer"


class SaslError(ZooKeeperError):
    """SASL failed on our side: the server did not prove who it is, or talked nonsense."""


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
    """The reply is over the client's size limit; it was not read, the operation was done."""

    def __init__(self, path: str | None, size: int, limit: int) -> None:
        super().__init__(path, f"a reply of {size} bytes; this client takes at most {limit}")
        self.size, self.limit = size, limit


class TransactionFailedError(ZooKeeperError):
    """A transaction was not carried out; nothing of it was.

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
    """The client's bytes break a rule or a limit; nothing more of them is read.

    ``status`` is the status code to answer with, ``rule`` the sentence for the client.
    """

    def __init__(self, status: int, rule: str) -> None:
        super().__init__(f"{status}: {rule}")
        self.status, self.rule = status, rule


class BodyStorageError(RequestRefusedError):
    """There is no room to keep a request body, through no fault of the client.

    ``status`` is 503 or 507, ``detail`` says to the administrator what has failed.
    """

    def __init__(self, status: int, rule: str, detail: str) -> None:
        super().__init__(status, rule)
        self.detail = detail


class BadResponseError(HTTPError, ValueError):
    """The application's status, header or block is not what PEP 3333 allows."""


class ClientGoneError(HTTPError):
    """The client has left, so the rest of the response has no receiver."""


class ResponseStorageError(HTTPError):
    """The part of a response that waits for a slow client cannot be stored."""


class ViewError(HTTPError):
    """A view responds with something else than its text.

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
    """A value that a node cannot store, or a text that is not a literal.

    ``offset`` counts the characters of the text before the culprit.
    """

    def __init__(self, problem: str, offset: int = 0) -> None:
        super().__init__(problem)
        self.problem, self.offset = problem, offset


class FailedConnectError(ZooKeeperError):
    """No ZooKeeper server let us in; ``connection_string`` says which were asked."""

    def __init__(self, connection_string: str, reason: str) -> None:
        super().__init__(None, f"Can't connect to ZooKeeper at {connection_string!r}: {reason}")
        self.connection_string = connection_string


class PlanFailedError(ZooKeeperError):
    """A change of a plan was refused; those before it were made.

    ``path`` is the node's, ``cause`` the refusal, ``done`` and ``total`` count changes.
    Making a new plan and carrying it out does the rest.
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
    """Links lead back to where they started; ``paths`` are those on the way.

    The message of a long loop names its first and its last paths.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        shown = paths if len(paths) <= 10 else (*paths[:5], "...", *paths[-4:])
        super().__init__(None, "the links form a loop: " + " -> ".join(shown))
        self.paths = paths


class NoPropertyError(ZooKeeperError):
    """A node lacks the property that a link names."""


class CancelWatch(Exception):  # noqa: N818, the name that programs raise it by
    """Raised by a callback of a live view that does not want to be called any more."""


class BadPropertyLinkError(ZooKeeperError):
    """A property link leads nowhere, or back to itself."""

    def __init__(self, path: str, name: str, target: object, cause: Exception) -> None:
        super().__init__(path, f"{cause} (in {name!r}: {target!r})")
        self.name, self.target, self.cause = name, target, cause


# -- Registration --------------------------------------------------------------


class AddressError(ValueError):
    """The text is no ``host:port``."""


class FormatError(ValueError):
    """A znode is not a service instance in any format that was expected, or a broken one."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name[:100]!r}: {problem}")
        self.name, self.problem = name, problem


class RenderError(ValueError):
    """The text for a consumer cannot be made: a template raised an error."""


class PublishError(Exception):
    """A list of providers cannot be handed to its consumer; it is worth another try."""


class NobodyRegisteredError(ZooKeeperError):
    """There is no address below the znode."""

    summary = "no provider is registered here"


class UnregisteredError(ZooKeeperError):
    """The registration was withdrawn while a caller waited for it."""

    summary = "the registration was withdrawn"


# -- Recipes -------------------------------------------------------------------


class LockTimeoutError(ZooKeeperError):
    """Others held the lock for longer than we were to wait."""

    summary = "it was not our turn in time"


class BarrierTimeoutError(ZooKeeperError):
    """Others kept us waiting at a barrier for longer than we were to wait."""

    summary = "others kept us waiting for too long"


class LeaseLostError(ZooKeeperError):
    """What was held is not ours any more: its session has expired, or its node was deleted."""

    summary = "it is not held any more"


class InconsistentLeasesError(ZooKeeperError, ValueError):
    """Others use the semaphore with another number of leases."""

    def __init__(self, path: str, wanted: int, found: int) -> None:
        super().__init__(path, f"a semaphore of {found} leases, not of {wanted}")
        self.wanted, self.found = wanted, found


# -- The service ---------------------------------------------------------------


class ConfigurationError(Exception):
    """What the user asked for cannot be done; the message says what to do about it."""


class DataDirectoryError(ConfigurationError):
    """The embedded ZooKeeper cannot use its data directory."""

    def __init__(self, folder: object, reason: str) -> None:
        super().__init__(f"cannot use the data directory {folder}: {reason}")


class StartError(SystemExit, Exception):
    """The process cannot start; the message is the one line that a user sees.

    It ends the interpreter with exit code 1 and without a traceback.  Since it is an
    ordinary exception as well, a daemon that twistd starts tells its parent.
    """


class ApplicationLoadError(ConfigurationError):
    """The WSGI application could not be loaded."""


class UnhealthyError(Exception):
    """What is served answers, but not well."""


# -- Worker processes ----------------------------------------------------------


class MessageError(Exception):
    """Bytes between a parent process and a worker that are not a message of this release."""


class WorkerUnreachableError(Exception):
    """A worker process has gone, or does not answer."""


# -- Tests ---------------------------------------------------------------------


class NotStartedError(Exception):
    """A server for tests is asked for something while it does not run."""

    def __init__(self) -> None:
        super().__init__("the server does not run; call start() first")
