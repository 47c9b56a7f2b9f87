"""Runs tasks that are commands."""

from aats_agent_shell.agent import Shell

__all__ = ["Shell"]
