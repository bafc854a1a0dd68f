"""Tests of `zkservice.recipes`."""
