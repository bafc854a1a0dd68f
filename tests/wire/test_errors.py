"""Tests of the server's error codes in ``zkservice.errors``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zkservice import errors
from zkservice.errors import ServerError, UnknownCodeError, ZooKeeperError

# KeeperException.Code: what a server, or a client in its place, can answer.
CODES = {
    -1: "SystemServerError",
    -2: "RuntimeInconsistencyError",
    -3: "DataInconsistencyError",
    -4: "ConnectionLossError",
    -5: "MarshallingError",
    -6: "UnimplementedError",
    -7: "OperationTimeoutError",
    -8: "BadArgumentsError",
    -13: "NewConfigNoQuorumError",
    -14: "ReconfigInProgressError",
    -101: "NoNodeError",
    -102: "NoAuthError",
    -103: "BadVersionError",
    -108: "NoChildrenForEphemeralsError",
    -110: "NodeExistsError",
    -111: "NotEmptyError",
    -112: "SessionExpiredError",
    -114: "InvalidACLError",
    -115: "AuthFailedError",
    -118: "SessionMovedError",
    -119: "NotReadOnlyError",
    -120: "EphemeralOnLocalSessionError",
    -121: "NoWatcherError",
    -122: "RequestTimeoutError",
    -123: "ReconfigDisabledError",
    -124: "SessionClosedRequireSaslAuthError",
    -125: "QuotaExceededError",
    -127: "ThrottledOpError",
}


class CodeTests(SynchronousTestCase):
    """From a number to an exception."""

    def test_each_known_code_has_its_class(self) -> None:
        """Each code has its own class, which carries the code and the path."""
        for code, name in CODES.items():
            error = ServerError.from_code(code, "/a")
            self.assertEqual((type(error).__name__, error.code, error.path), (name, code, "/a"))
            self.assertIs(type(error), getattr(errors, name))
            self.assertTrue(str(error).startswith("/a: "), str(error))
            self.assertIsInstance(error, ZooKeeperError)

    def test_an_unknown_code_is_an_error_with_its_number(self) -> None:
        """A code from a newer server is an error that says the number, no crash."""
        for code in (-9, -128, -4711, 5):
            error = ServerError.from_code(code, "/a")
            self.assertIsInstance(error, UnknownCodeError)
            self.assertEqual((error.code, error.path), (code, "/a"))
            self.assertIn(str(code), str(error))

    def test_a_code_cannot_be_claimed_twice(self) -> None:
        """Two classes cannot claim one code."""
        with self.assertRaisesRegex(TypeError, "-101 is already taken"):
            type("Another", (ServerError,), {"code": -101})
        self.assertEqual(type(ServerError.from_code(-101)).__name__, "NoNodeError")

    def test_a_message_without_a_path_is_the_summary(self) -> None:
        """Without a path the message is the summary alone."""
        self.assertEqual(str(ServerError.from_code(-101)), "the znode does not exist")

    def test_a_lost_request_says_whether_it_may_be_applied(self) -> None:
        """A lost request says whether it can have been carried out."""
        lost = errors.ConnectionLossError("/a")
        self.assertTrue(lost.maybe_applied)
        self.assertIn("may have been carried out", str(lost))
        unsent = errors.ConnectionLossError("/a", maybe_applied=False)
        self.assertIn("was not carried out", str(unsent))
