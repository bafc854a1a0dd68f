"""Tests for `zkservice.publishing`."""
