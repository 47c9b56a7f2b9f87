"""Runs a team of long-lived service agents that carry out plans of work without losing any of it."""
