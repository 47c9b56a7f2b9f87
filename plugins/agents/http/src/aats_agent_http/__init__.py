"""Runs tasks that call HTTP services."""

from aats_agent_http.http import Http

__all__ = ["Http"]
