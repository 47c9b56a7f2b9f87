"""Runs tasks that call HTTP services."""

from aats_agent_http.agent import Http

__all__ = ["Http"]
