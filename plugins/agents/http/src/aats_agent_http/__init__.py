"""Runs tasks that call HTTP services."""
