"""Looks for passwords, keys and tokens that should not be in a source tree: `find_secrets.py TREE`.

Only what has the shape of a real one is found. A line with `allow-secret` in it is passed over.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from result import count, finish
from source_files import read_list

_KINDS = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*[A-Za-z0-9+/]{20}",
    "an AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})",
    "a GitLab token": r"\bglpat-[A-Za-z0-9_-]{20}\b",
    "a PyPI token": r"\bpypi-[A-Za-z0-9_-]{60,}",
    "a Slack token": r"\bxox[abprs]-[0-9A-Za-z-]{20,}",
    "a Stripe key": r"\b[rs]k_live_[0-9A-Za-z]{20,}",
    "a Google API key": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "a password in a URL": (
        r"\b[a-z][a-z0-9+]*://[^\s:/@'\"{}$<]+:(?=[^@]*[A-Za-z])(?=[^@]*[0-9])[^\s:/@'\"{}$<]{12,}@"
        r"(?![a-z0-9.-]*\.(?:example|internal|invalid|local|test)\b|(?:[a-z0-9-]+\.)?example\.(?:com|net|org)\b)"
        r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}\b"
    ),
}
_PATTERNS = [(kind, re.compile(pattern)) for kind, pattern in _KINDS.items()]
_ALLOWED = "allow-secret"
_LARGEST = 2_000_000


def main(tree: Path) -> None:
    """Look through every text file of the tree."""
    found, files = [], 0
    for path in read_list(tree):
        if path.stat().st_size > _LARGEST:
            continue
        content = path.read_bytes()
        if b"\0" in content:
            continue
        files += 1
        found += [f"{path.relative_to(tree)}:{line}: {kind}" for line, kind in _look(content.decode(errors="replace"))]
    advice = ["take it out and make it invalid: it is in the history for good"] if found else []
    finish(f"{count(len(found), 'secret')} in {count(files, 'text file')}", [*found, *advice], files=files)


def _look(text: str) -> Iterator[tuple[int, str]]:
    for kind, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            begin = text.rfind("\n", 0, match.start()) + 1
            end = text.find("\n", match.start())
            if _ALLOWED not in text[begin : end if end >= 0 else None]:
                yield text.count("\n", 0, match.start()) + 1, kind


if __name__ == "__main__":
    main(Path(sys.argv[1]))
