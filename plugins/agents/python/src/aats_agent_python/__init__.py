"""Runs tasks that are importable Python functions."""

from aats_agent_python.agent import Python

__all__ = ["Python"]
