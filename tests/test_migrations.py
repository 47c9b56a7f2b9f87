"""`aats migrate` on the embedded store: killed, twice at once, with wrong files, and with steps of plugins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.migrating import Project, Scenarios, project_at


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with project_at(tmp_path, f'[stores.primary]\npath = "{tmp_path}/shared.db"\n') as project:
        yield project


class TestOnSqlite(Scenarios):
    pass
