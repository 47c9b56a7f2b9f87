"""Compiles every Python file of a tree, without leaving anything in it: `compile_all.py TREE`."""

import sys
import warnings
from pathlib import Path

from result import count, finish
from source_files import read_list


def main(tree: Path) -> None:
    """Compile all files; a warning of the compiler is a problem too."""
    warnings.simplefilter("error")
    files = [path for path in read_list(tree) if path.suffix == ".py"]
    problems = [problem for path in files if (problem := _compile(path, path.relative_to(tree)))]
    finish(f"{count(len(files), 'file')} compiled by Python {sys.version.split()[0]}", problems)


def _compile(path: Path, name: Path) -> str:
    try:
        compile(path.read_bytes(), str(name), "exec", dont_inherit=True)
    except (SyntaxError, SyntaxWarning, ValueError) as error:
        return f"{name}:{getattr(error, 'lineno', None) or 0}: {getattr(error, 'msg', None) or error}"
    return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
