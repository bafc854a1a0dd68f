"""Tests for `zkservice.service.application`."""
