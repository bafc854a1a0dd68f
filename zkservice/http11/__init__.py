"""HTTP/1.1 without a socket: bytes in, events out; responses to bytes."""
