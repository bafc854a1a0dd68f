"""Tests of `zkservice.discovery`."""
