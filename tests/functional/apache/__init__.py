"""The contracts that the embedded server keeps, on Apache's server."""
