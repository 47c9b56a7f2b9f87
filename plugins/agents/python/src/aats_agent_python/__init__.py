"""Runs tasks that are importable Python functions."""
