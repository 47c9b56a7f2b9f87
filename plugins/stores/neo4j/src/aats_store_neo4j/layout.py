"""What the database holds of ours before anything is written: constraints, the full-text index, a version."""

from __future__ import annotations

from aats_core.errors import StateTooNew
from aats_store_neo4j.sessions import Sessions

VERSION = 1

NODE = "AatsNode"
"""The label of the nodes of graphs."""

DOCUMENT = "AatsDocument"
"""The label of the documents of all collections."""

COLLECTION = "AatsCollection"
"""The label of what is known of a collection."""

CLAIM = "AatsClaim"
"""The label of values that a document holds in a unique index."""

LAYOUT = "AatsLayout"

NODE_WORDS = "aats_node_words"
DOCUMENT_WORDS = "aats_document_words"

_STATEMENTS = (
    *(
        f"CREATE CONSTRAINT aats_{label.lower()} IF NOT EXISTS FOR (n:{label}) REQUIRE n.`aats:key` IS UNIQUE"
        for label in (NODE, DOCUMENT, COLLECTION, CLAIM, LAYOUT)
    ),
    *(
        f"CREATE FULLTEXT INDEX {name} IF NOT EXISTS FOR (n:{label}) ON EACH [n.`aats:words`]"
        " OPTIONS {indexConfig: {`fulltext.analyzer`: 'whitespace'}}"
        for name, label in ((NODE_WORDS, NODE), (DOCUMENT_WORDS, DOCUMENT))
    ),
    "CALL db.awaitIndexes(60)",
)


async def lay_out(sessions: Sessions) -> None:
    """Make what is not there yet; raises `StateTooNew` where a newer version of AATS has been here."""
    rows = await sessions.read("SHOW CONSTRAINTS YIELD name WHERE name = 'aats_aatslayout' RETURN name")
    found = await sessions.read(f"MATCH (n:{LAYOUT}) RETURN max(n.version)") if rows else []
    version = found[0][0] if found else None
    if version == VERSION:
        return
    if version is not None and version > VERSION:
        raise StateTooNew(f"{sessions.place}: holds data of a newer AATS (version {version}); update this one")
    for statement in _STATEMENTS:
        await sessions.alter(statement)
    await sessions.change(f"MERGE (n:{LAYOUT} {{`aats:key`: 'layout'}}) SET n.version = {VERSION}")
