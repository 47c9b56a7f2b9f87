"""Faults on real servers: kills, restarts, cut and half-open connections, floods and poison."""
