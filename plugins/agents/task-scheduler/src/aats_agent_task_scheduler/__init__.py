"""Decides which worker runs which task when."""

from aats_agent_task_scheduler.agent import TaskScheduler

__all__ = ["TaskScheduler"]
