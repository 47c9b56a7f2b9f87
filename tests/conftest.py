"""Fixtures of the kernel's tests."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from aats_core.plugins import Catalog, discover

PARTS = """
    import asyncio
    from pydantic import SecretStr
    from aats_core import *

    class MemorySettings(BrokerSettings):
        capacity: int = 10
        servers: list[str] = []
        password: SecretStr = SecretStr("")
        note: str = ""

    class Memory(Broker):
        Settings = MemorySettings
        in_process = True
        def __init__(self, settings: MemorySettings) -> None:
            self.settings, self.connected = settings, False
        async def connect(self) -> None:
            self.connected = True
        async def close(self) -> None:
            self.connected = False
        async def health(self) -> Health:
            return Health()
        publish = publish_many = dead_letter = dead_letters = replay = purge = topics = connect
        def subscribe(self, topic, group, *, prefetch=100, ephemeral=False): ...

    class FileSettings(StoreSettings):
        dsn: str = ""
        fault: str = ""

    class FileStore(Store):
        Settings = FileSettings
        native = None
        capabilities = ()
        def __init__(self, settings: FileSettings, info: TeamInfo) -> None:
            self.settings, self.path = settings, info.state_dir / "store.db"
        async def connect(self) -> None:
            if self.settings.fault == "raise":
                raise StoreUnavailable(f"nobody answers at {self.settings.dsn}")
            if self.settings.fault == "away":
                raise StoreUnavailable(f"nobody answered within {self.settings.timeout:g} s")
            if self.settings.fault == "hang":
                await asyncio.Event().wait()
            self.path.write_text("data")
        async def close(self) -> None:
            if self.settings.fault == "close":
                raise OSError("it does not close")
        async def health(self) -> Health:
            degraded = self.settings.fault == "degraded"
            return Health(HealthStatus.DEGRADED, "the disk is slow") if degraded else Health()

    class ProjectManager(Agent): ...
    class TaskScheduler(Agent): ...

    class ShellSettings(AgentSettings):
        allow: list[str] = []
        wait: Seconds = 1.0
        token: SecretStr = SecretStr("")
        port: int = 0

    class Shell(Agent):
        Settings = ShellSettings
        def __init__(self, settings: ShellSettings) -> None:
            if settings.port == 99:
                raise RuntimeError(f"no port {settings.token.get_secret_value()}")
        @task("shell.run")
        async def run(self, payload: dict[str, str]) -> str:
            return "done"

    class JiraSettings(IntegrationSettings):
        site: str

    class Jira(Integration):
        Settings = JiraSettings
        def __init__(self, settings: JiraSettings) -> None: ...
        async def start(self) -> None: ...
        async def stop(self) -> None: ...
        async def health(self) -> Health:
            return Health(HealthStatus.DOWN, "https://me:letmein@jira does not answer")
"""

ENTRY_POINTS = {
    "aats.brokers": {"memory": "acme_parts:Memory"},
    "aats.stores": {"sqlite": "acme_parts:FileStore"},
    "aats.integrations": {"jira": "acme_parts:Jira"},
    "aats.agents": {
        "project-manager": "acme_parts:ProjectManager",
        "task-scheduler": "acme_parts:TaskScheduler",
        "shell": "acme_parts:Shell",
    },
}


class Site:
    """A directory of throw-away distributions that can be imported."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(
        self,
        name: str,
        entry_points: Mapping[str, Mapping[str, str]],
        *,
        version: str = "1.0",
        modules: Mapping[str, str] | None = None,
    ) -> Path:
        """Install a distribution as pip would, and return the directory of its metadata."""
        info = self.path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        groups = [f"[{group}]\n" + "".join(f"{n} = {t}\n" for n, t in e.items()) for group, e in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join(groups))
        for module, source in (modules or {}).items():
            (self.path / f"{module}.py").write_text(dedent(source))
        importlib.invalidate_caches()
        return info

    def catalog(self) -> Catalog:
        """Return what is installed here, and nowhere else."""
        return discover([str(self.path)])


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty site; what is imported from it is forgotten again."""
    path = tmp_path / "site"
    path.mkdir()
    monkeypatch.syspath_prepend(str(path))
    before = set(sys.modules)
    yield Site(path)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(path)):
            del sys.modules[name]


@pytest.fixture
def parts(site: Site) -> Catalog:
    """Plugins with the names of the embedded ones, and `shell` and `jira`, that do next to nothing."""
    site.add("acme-parts", ENTRY_POINTS, modules={"acme_parts": PARTS})
    return site.catalog()


@pytest.fixture
def probe(site: Site) -> Site:
    """A site with the agent plugin `probe`."""
    source = (Path(__file__).parent / "probe" / "aats_test_probe.py").read_text()
    site.add(
        "aats-test-probe", {"aats.agents": {"probe": "aats_test_probe:Probe"}}, modules={"aats_test_probe": source}
    )
    return site
