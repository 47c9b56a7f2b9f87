"""Full text in memory: which words a document holds, and whether they are what `$text` searches for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from aats_core.query.filters import Path, Text
from aats_core.query.order import values_at

_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """Return the words of a text in their order; neither case nor accents count."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return _WORD.findall("".join(each for each in plain if not unicodedata.combining(each)))


def texts_at(document: Any, paths: Iterable[Path]) -> Iterator[list[str]]:
    """Yield the words of each string at those paths, and in the arrays there."""
    for path in paths:
        for value in values_at(document, path):
            for each in value if value.__class__ is list else (value,):
                if each.__class__ is str:
                    yield words_of(each)


def search_test(clause: Text) -> Callable[[Any], bool]:
    """Return a function that tells whether a document holds what is searched for at the paths of the index."""
    phrases = [words for words in map(words_of, clause.phrases) if words]
    wanted = phrases or [words for words in map(words_of, clause.words) if words]
    enough = all if phrases else any
    excluded = [words for words in map(words_of, clause.excluded) if words]

    def test(document: Any) -> bool:
        texts = list(texts_at(document, clause.paths))

        def holds(phrase: Sequence[str]) -> bool:
            return any(_contains(words, phrase) for words in texts)

        return bool(wanted) and enough(map(holds, wanted)) and not any(map(holds, excluded))

    return test


def _contains(words: Sequence[str], phrase: Sequence[str]) -> bool:
    count = len(phrase)
    return any(list(words[at : at + count]) == list(phrase) for at in range(len(words) - count + 1))
