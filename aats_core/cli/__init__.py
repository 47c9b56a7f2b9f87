"""The command line `aats`."""

from aats_core.cli.entry import main

__all__ = ["main"]
