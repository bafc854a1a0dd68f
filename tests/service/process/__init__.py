"""Tests for `zkservice.service.process`."""
