"""The session, the registration, and the health checks on which it depends."""
