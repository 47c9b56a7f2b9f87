"""What this agent does: every file once, and no name twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aats_core import TaskFailed
from aats_core.testing.fakes import FakeEffects, FakeTaskContext, give_context

from acme_registry import Registry, RegistrySettings
from acme_registry.agent import Upload
from acme_registry.shelf import Entry, Shelf

CONTENT = b"the content of a wheel"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "acme-1.0.whl"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    agent = Registry()
    give_context(agent, RegistrySettings(root=tmp_path / "registry", max_bytes=1000))
    return agent


def upload(registry: Registry, file: Path, effects: FakeEffects | None = None) -> Entry:
    return asyncio.run(registry.upload(Upload(str(file)), FakeTaskContext(effects=effects)))


def test_an_uploaded_file_is_found(registry: Registry, file: Path) -> None:
    entry = upload(registry, file)

    assert (entry.name, entry.size) == ("acme-1.0.whl", len(CONTENT))
    assert asyncio.run(registry.find("acme-1.0.whl")) == entry
    assert asyncio.run(registry.list_entries()) == [entry]


def test_nothing_is_found_in_an_empty_registry(registry: Registry) -> None:
    assert asyncio.run(registry.find("acme-1.0.whl")) is None
    assert asyncio.run(registry.list_entries()) == []


def test_a_repeated_attempt_uploads_nothing_again(registry: Registry, file: Path, tmp_path: Path) -> None:
    effects = FakeEffects()
    first = upload(registry, file, effects)
    (tmp_path / "registry" / file.name).unlink()

    assert upload(registry, file, effects) == first
    assert effects.done == {"upload acme-1.0.whl": 1}
    assert not (tmp_path / "registry" / file.name).exists()


def test_after_a_crash_the_registry_itself_says_whether_it_happened(
    registry: Registry, file: Path, tmp_path: Path
) -> None:
    effects = FakeEffects()
    effects.intents.add("upload acme-1.0.whl")
    Shelf(tmp_path / "registry").add(file)

    assert upload(registry, file, effects).name == "acme-1.0.whl"
    assert effects.done == {}


def test_after_a_crash_before_it_happened_it_is_done(registry: Registry, file: Path, tmp_path: Path) -> None:
    effects = FakeEffects()
    effects.intents.add("upload acme-1.0.whl")

    upload(registry, file, effects)

    assert (tmp_path / "registry" / file.name).read_bytes() == CONTENT


def test_another_content_under_the_same_name_is_refused_for_good(registry: Registry, file: Path) -> None:
    upload(registry, file)
    file.write_bytes(b"something else")

    with pytest.raises(TaskFailed, match="another content") as caught:
        upload(registry, file)

    assert not caught.value.retry


def test_a_file_that_is_too_large_is_refused_for_good(registry: Registry, file: Path) -> None:
    file.write_bytes(b"x" * 1001)

    with pytest.raises(TaskFailed, match="takes 1,000") as caught:
        upload(registry, file)

    assert not caught.value.retry


def test_a_missing_file_may_come_yet(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(TaskFailed, match="No such file") as caught:
        upload(registry, tmp_path / "missing.whl")

    assert caught.value.retry


def test_nothing_but_whole_files_is_left_in_the_registry(registry: Registry, file: Path, tmp_path: Path) -> None:
    upload(registry, file)
    upload(registry, file)

    assert [path.name for path in (tmp_path / "registry").iterdir()] == ["acme-1.0.whl"]
