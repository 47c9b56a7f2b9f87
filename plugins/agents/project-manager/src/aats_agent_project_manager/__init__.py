"""Keeps plans of work and the state of every task."""
