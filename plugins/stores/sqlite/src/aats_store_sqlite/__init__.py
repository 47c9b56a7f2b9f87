"""Keeps records, keys and graphs in one SQLite file."""
