"""Migrations: ordered steps that change what the stores of a team hold, recorded in each store that they touch."""

from aats_core.migrations.context import MigrationContext
from aats_core.migrations.step import Migration

__all__ = ["Migration", "MigrationContext"]
