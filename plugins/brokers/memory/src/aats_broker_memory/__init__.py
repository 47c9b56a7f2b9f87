"""Carries messages within one process."""
