"""Tests for `zkservice.service.registration`."""
