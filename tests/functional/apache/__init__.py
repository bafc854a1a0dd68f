"""The contract tests of the embedded server, on Apache's server."""
