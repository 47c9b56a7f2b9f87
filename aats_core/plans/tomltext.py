"""TOML text as a document; TOML readers keep no line numbers, so its places are ways of keys alone."""

from __future__ import annotations

import re
import tomllib

from aats_core.plans.document import MAX_DEPTH, Document, Malformed

_LINE = re.compile(r"\(at (?:line (\d+), column \d+|end of document)\)")
_DOTTED = re.compile(r"""(?:(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+)++""")


def decode_toml(text: str) -> Document:
    """Decode TOML 1.0; raises `Malformed`, also for a key that is given twice."""
    _refuse_long_keys(text)
    try:
        return Document(tomllib.loads(text))
    except RecursionError as error:
        raise Malformed("is nested too deeply") from error
    except tomllib.TOMLDecodeError as error:
        found = _LINE.search(str(error))
        message = _LINE.sub("", str(error)).strip()
        line = int(found[1]) if found and found[1] else text.rstrip().count("\n") + 1
        raise Malformed(f"is not valid TOML: {message}", line) from error
    except ValueError as error:
        raise Malformed("has a number of too many digits") from error


def _refuse_long_keys(text: str) -> None:
    """Refuse dotted keys of very many parts, for which the reader takes memory by the square of their number."""
    for run in _DOTTED.finditer(text):
        if run[0].count(".") > MAX_DEPTH:
            line = text.count("\n", 0, run.start()) + 1
            raise Malformed(f"has a key of more than {MAX_DEPTH} parts", line)
