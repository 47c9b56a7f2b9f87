"""Full text: which words a document or a node holds, and what is searched for; neither case nor accents count."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from aats_core.query.filters import Path, Text
from aats_store_postgres.expressions import target_at

_ACCENTS = "[\u0300-\u036f]"


def words_of(expression: str) -> str:
    """Return the expression of the words in the strings of a JSON value."""
    plain = f"regexp_replace(normalize(({expression})::text, NFKD), '{_ACCENTS}', '', 'g')::jsonb"
    return f"to_tsvector('simple'::regconfig, {plain})"


def words_at(paths: list[Path]) -> str:
    """Return the expression of the words in the strings at some paths, and in the arrays there."""
    strings = "'strict $[*] ? (@.type() == \"string\")'"
    single = "'strict $ ? (@.type() == \"string\")'"
    found = []
    for path in paths:
        json = target_at(path).json
        of_array = f"jsonb_path_query_array({json}, {strings}, '{{}}', true)"
        of_string = f"jsonb_path_query_array({json}, {single}, '{{}}', true)"
        found.append(f"coalesce({words_of(f'{of_array} || {of_string}')}, ''::tsvector)")
    return f"({' || '.join(found)})"


def search_terms(clause: Text, parameter: Callable[[str], str]) -> str:
    """Return the expression of what `$text` searches for; empty where nothing can be found."""

    def query(words: str) -> str:
        return f"phraseto_tsquery('simple'::regconfig, {parameter(without_accents(words))})"

    wanted = " && ".join(map(query, clause.phrases)) or " || ".join(map(query, clause.words))
    if not wanted or not clause.excluded:
        return wanted
    return f"({wanted}) && !! ({' || '.join(map(query, clause.excluded))})"


def without_accents(text: str) -> str:
    """Return a text as words are compared; what PostgreSQL cannot hold becomes a space."""
    return re.sub(f"{_ACCENTS}|\0", lambda found: " " if found[0] == "\0" else "", unicodedata.normalize("NFKD", text))
