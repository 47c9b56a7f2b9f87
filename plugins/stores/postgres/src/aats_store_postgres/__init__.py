"""Keeps records, keys and graphs in a PostgreSQL database."""
