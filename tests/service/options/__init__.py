"""Tests for `zkservice.service.options`."""
