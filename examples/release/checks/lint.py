"""Looks for mistakes in Python files without running them: `lint.py TREE`.

With ruff by the tree's own rules. Where ruff is not installed, the standard library finds the worst: files that do not
parse, mixed indentation, names imported and never used, comparisons with `is` to a literal.
"""

import ast
import importlib.util
import json
import subprocess
import sys
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path

from result import count, finish, give_up

_SHOWN = 50


def main(tree: Path) -> None:
    """Check every Python file of the tree."""
    if importlib.util.find_spec("ruff") is not None:
        tool, problems = "ruff", list(_ruff(tree))
    else:
        tool, problems = "the standard library (ruff is not installed)", list(_by_hand(tree))
    more = [f"… and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    finish(f"{count(len(problems), 'finding')} by {tool}", [*problems[:_SHOWN], *more], tool=tool)


def _ruff(tree: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "json", "."]
    answer = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    if answer.returncode not in (0, 1):
        give_up(f"ruff ended with code {answer.returncode}: {answer.stderr.strip()}")
    for finding in json.loads(answer.stdout):
        path = Path(finding["filename"]).relative_to(tree.resolve())
        yield f"{path}:{finding['location']['row']}: {finding['code']} {finding['message']}"


def _by_hand(tree: Path) -> Iterator[str]:
    for path in sorted(tree.rglob("*.py")):
        name = path.relative_to(tree)
        try:
            with tokenize.open(path) as file:
                source = file.read()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                module = ast.parse(source, str(name))
                compile(source, str(name), "exec", dont_inherit=True)
        except (SyntaxError, UnicodeDecodeError, ValueError) as error:
            yield f"{name}:{getattr(error, 'lineno', 0) or 0}: {error}"
            continue
        yield from (f"{name}:{warning.lineno}: {warning.message}" for warning in caught)
        if path.name != "__init__.py":
            yield from (f"{name}:{line}: {what} is imported and not used" for what, line in _unused(module))


def _unused(module: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield what a module imports at its top and never mentions again."""
    imported: dict[str, int] = {}
    for node in module.body:
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", "") != "__future__":
            imported |= {(a.asname or a.name).split(".")[0]: node.lineno for a in node.names if a.asname != a.name}
    mentioned = {node.id for node in ast.walk(module) if isinstance(node, ast.Name)}
    texts = [node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    for name, line in imported.items():
        if name not in mentioned and name != "*" and not any(name in text for text in texts):
            yield name, line


if __name__ == "__main__":
    main(Path(sys.argv[1]))
