"""Which files of a snapshot came from the tree, and were not made by a check since."""

from collections.abc import Iterable
from pathlib import Path

_LIST = "files.txt"


def write_list(tree: Path, files: Iterable[Path]) -> None:
    """Remember the files of a snapshot, beside it."""
    (tree.parent / _LIST).write_text("\0".join(map(str, files)), encoding="utf-8", errors="surrogateescape")


def read_list(tree: Path) -> list[Path]:
    """Return the regular files of a snapshot, or of any other tree."""
    file = tree.parent / _LIST
    if not file.exists():
        return sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    names = file.read_text(encoding="utf-8", errors="surrogateescape").split("\0")
    return [path for path in (tree / name for name in names) if path.is_file() and not path.is_symlink()]
