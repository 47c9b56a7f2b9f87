"""Keeps graphs and records in a Neo4j database."""

from aats_store_neo4j.store import Neo4jStore

__all__ = ["Neo4jStore"]
