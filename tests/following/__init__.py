"""Tests of `zkservice.following`."""
