"""Tests for `zkservice.service.state`."""
