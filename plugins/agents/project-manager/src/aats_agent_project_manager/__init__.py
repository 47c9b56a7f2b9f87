"""Keeps plans of work and the state of every task."""

from aats_agent_project_manager.agent import ProjectManager
from aats_agent_project_manager.settings import ProjectManagerSettings

__all__ = ["ProjectManager", "ProjectManagerSettings"]
