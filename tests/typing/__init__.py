"""Types are API: mypy reads what is here."""
