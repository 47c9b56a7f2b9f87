"""The shape of the code: no module grows long, few functions do, and what is public says what it does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    path
    for folder in ("aats_core", "plugins/*/*/src", "examples/*/src", "examples/*/checks", "examples/*/functions")
    for path in ROOT.glob(f"{folder}/**/*.py")
)

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

LONGEST_MODULE = 500
LONG_FUNCTION = 40
SHARE_OF_LONG_FUNCTIONS = 0.03
SHARE_OF_DOCUMENTED = 0.95


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in MODULES:
        yield path.relative_to(ROOT), ast.parse(path.read_text())


def definitions(node: ast.AST, *, public: bool) -> Iterator[Definition]:
    """Yield what is defined in a module or class, and in the classes therein; of functions not what is inside."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If | ast.Try):
            yield from definitions(child, public=public)
        elif isinstance(child, Definition) and not (public and child.name.startswith("_")):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from definitions(child, public=public)


def is_overload(found: Definition) -> bool:
    return any(ast.unparse(decorator) in ("overload", "typing.overload") for decorator in found.decorator_list)


def describes_itself(found: Definition) -> bool:
    """Tell whether a definition needs no docstring: an overload, or a contract test, whose name is what it states."""
    return is_overload(found) or found.name.startswith("test_")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_long(path):
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE


def test_few_functions_are_long():
    lengths = {
        f"{path}:{found.lineno} {found.name}": (found.end_lineno or 0) - found.lineno + 1
        for path, tree in trees()
        for found in ast.walk(tree)
        if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    long = [f"{place}: {length} lines" for place, length in lengths.items() if length > LONG_FUNCTION]

    assert len(long) <= SHARE_OF_LONG_FUNCTIONS * len(lengths), "\n".join(long)


def test_what_is_public_is_documented():
    bare, count = [], 0
    for path, tree in trees():
        public = [tree, *(found for found in definitions(tree, public=True) if not describes_itself(found))]
        count += len(public)
        bare += [f"{path}: {getattr(found, 'name', 'module')}" for found in public if ast.get_docstring(found) is None]

    assert len(bare) <= (1 - SHARE_OF_DOCUMENTED) * count, "\n".join(bare)
