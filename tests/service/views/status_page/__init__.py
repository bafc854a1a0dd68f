"""Tests for `zkservice.service.views.status_page`."""
