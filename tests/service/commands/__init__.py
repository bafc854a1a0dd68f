"""Tests for `zkservice.service.commands`."""
