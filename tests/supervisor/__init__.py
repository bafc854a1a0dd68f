"""Tests of ``zkservice.supervisor``."""
