"""Tests for `zkservice.service.front`."""
