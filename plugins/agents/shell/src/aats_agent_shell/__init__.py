"""Runs tasks that are commands."""

from aats_agent_shell.shell import Shell

__all__ = ["Shell"]
