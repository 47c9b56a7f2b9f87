"""Importing the package is cheap: what is slow is imported by the run that needs it."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import aats_core
import aats_core.task  # the module whose name the decorator has too

SLOW = (
    "dependency_injector",
    "pydantic",
    "pydantic_settings",
    "asyncpg",
    "aiohttp",
    "apsw",
    "prometheus_client",
    "yaml",
    "fastapi",
)


@pytest.mark.parametrize("module", ["aats_core", "aats_core.cli", "aats_core.plugins", "aats_core.secrets"])
def test_importing_it_loads_nothing_slow(module):
    script = f"import {module}, sys; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert not set(SLOW) & set(done.stdout.split())


def test_importing_the_package_loads_no_module_of_it():
    script = "import aats_core, sys; print(*(name for name in sys.modules if name.startswith('aats_core')))"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.split() == ["aats_core"]


@pytest.mark.parametrize("name", aats_core.__all__)
def test_every_public_name_is_there(name):
    assert getattr(aats_core, name) is not None


def test_type_checkers_see_each_public_name_where_it_is_loaded_from():
    tree = ast.parse(Path(aats_core.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}

    assert sorted(seen) == sorted(aats_core.__all__)
    for name, module in seen.items():
        assert getattr(importlib.import_module(module), name) is getattr(aats_core, name)


def test_task_is_the_decorator_whatever_was_imported_before():
    from aats_core import handlers, task

    assert task is handlers.task
    assert sys.modules["aats_core.task"].Plan is aats_core.Plan


def test_task_is_the_decorator_before_anything_else_was_imported():
    script = "from aats_core import task; import aats_core.task; print(task('x').__qualname__, aats_core.task is task)"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.strip() == "_marker.<locals>.mark True"


def test_a_name_that_is_not_public_is_refused_as_python_does():
    with pytest.raises(AttributeError, match="module 'aats_core' has no attribute 'Nothing'"):
        aats_core.Nothing  # noqa: B018

    with pytest.raises(ImportError, match="Nothing"):
        exec("from aats_core import Nothing")


def test_dir_lists_what_can_be_imported():
    assert set(aats_core.__all__) <= set(dir(aats_core))
