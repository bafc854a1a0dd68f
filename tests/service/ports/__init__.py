"""Tests for `zkservice.service.ports`."""
