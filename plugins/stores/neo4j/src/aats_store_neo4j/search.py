"""Filters as statements that find nodes: by the label of a collection, or by the full-text index."""

from __future__ import annotations

from aats_core.query import Clause
from aats_core.query.filters import And, Text
from aats_core.query.search import words_of
from aats_store_neo4j.catalog import Collection
from aats_store_neo4j.compile import Compiler
from aats_store_neo4j.layout import DOCUMENT_WORDS


class Search:
    """A filter as a statement that finds the nodes `d` of all documents that match, and perhaps others."""

    def __init__(self, collection: Collection, clause: Clause) -> None:
        compiler = Compiler()
        condition = compiler.compile(clause)
        self.exact = condition.exact
        self.parameters = compiler.parameters
        text = _text_of(clause)
        if text is None:
            self.match = f"MATCH (d:{collection.label})"
            self.where = condition.cypher
        else:
            self.exact = False
            self.parameters["wanted"] = _wanted(collection, text)
            self.match = f"CALL db.index.fulltext.queryNodes('{DOCUMENT_WORDS}', $wanted) YIELD node AS d"
            self.match += " WITH d"
            self.where = f"d:{collection.label} AND {condition.cypher}"

    @property
    def finds_all(self) -> bool:
        """Whether every document matches, so that none can be in doubt."""
        return self.exact and self.where == "true"

    def statement(self, rest: str) -> str:
        """Return the statement that does something with what is found."""
        return f"{self.match} WHERE {self.where} {rest}" if self.where != "true" else f"{self.match} {rest}"


def _text_of(clause: Clause) -> Text | None:
    if isinstance(clause, Text):
        return clause
    parts = clause.clauses if isinstance(clause, And) else ()
    return next((text for each in parts if (text := _text_of(each)) is not None), None)


def _wanted(collection: Collection, text: Text) -> str:
    """Return the query in Lucene's language; words are letters and digits, and quoted."""
    phrases = [word for phrase in text.phrases for word in words_of(phrase)]
    if phrases:
        return " ".join(f'+"{word}"' for word in [collection.key, *phrases])
    either = " ".join(f'"{word}"' for each in text.words for word in words_of(each))
    return f'+"{collection.key}" +({either})' if either else f'+"{collection.key}" +"{collection.key}:none"'
