"""Tests for `zkservice.service.views`."""
