"""Tests for `zkservice.formats`."""
