"""Decides which worker runs which task when."""
