"""Tests: they mirror the package. Mail comes from the local Gmail server, rows go into real databases."""
