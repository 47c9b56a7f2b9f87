"""Fixtures that every plugin's tests can use."""
