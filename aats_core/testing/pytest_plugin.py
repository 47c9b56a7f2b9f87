"""What pytest does for every test of a project that has `aats-core[testing]`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aats_core import secrets


@pytest.fixture(autouse=True)
def _secrets_of_one_test() -> Iterator[None]:
    """Forget the secrets of each test after it, so that they are not masked in the texts of the next."""
    yield
    secrets.forget()
