"""Runs tasks that are commands."""
