"""Runs tasks that are importable Python functions."""

from aats_agent_python.python import Python

__all__ = ["Python"]
