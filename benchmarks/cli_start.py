"""How long `aats --version`, `--help` and `plugins` take with 30 plugins installed, in multiples of `python -c pass`.

    python benchmarks/cli_start.py [--json]

`dramatiq --help`, `celery --help` and `faststream --help` stand beside them where they are on the PATH.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from rounds import measure, show

PLUGINS = 30
RUNS = 10
BARE = "python -c pass"
PEERS = ("dramatiq", "celery", "faststream")


def install(folder: Path) -> None:
    """Write the metadata of so many plugins, as an installer leaves it."""
    kinds = ("agent", "store", "broker", "integration")
    for number in range(PLUGINS):
        kind = kinds[number % len(kinds)]
        info = folder / f"acme_{kind}_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme-{kind}-{number}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[aats.{kind}s]\nthrowaway-{number} = acme_{kind}_{number}:Part\n")


def commands() -> dict[str, list[str]]:
    """Return what is measured, by name."""
    aats = str(Path(sys.executable).with_name("aats"))
    found = {BARE: [sys.executable, "-c", "pass"]}
    found |= {f"aats {argument}": [aats, argument] for argument in ("--version", "--help", "plugins")}
    return found | {f"{peer} --help": [path, "--help"] for peer in PEERS if (path := shutil.which(peer))}


def timer(command: list[str], folder: str) -> Callable[[], float]:
    """Return what runs a command several times and tells the median of the milliseconds that it took."""
    environ = {**os.environ, "PYTHONPATH": folder}

    def once() -> float:
        begun = time.perf_counter()
        subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=True)
        return (time.perf_counter() - begun) * 1000

    once()  # what is read from the disk for the first time is not measured
    return lambda: statistics.median(once() for _ in range(RUNS))


def main() -> None:
    """Measure and print."""
    with TemporaryDirectory() as folder:
        install(Path(folder))
        figures = measure({name: timer(command, folder) for name, command in commands().items()})
    where = f"with {PLUGINS} plugins more than those installed"
    version = {name: figures[name] for name in (BARE, "aats --version")}
    show(f"aats --version {where}", "ms", version, ours="aats --version", peers={BARE: "<= 5"})
    del figures["aats --version"]
    peers = {BARE: "<= 10"} | {f"{peer} --help": "< 1" for peer in PEERS}
    show(f"aats --help {where}", "ms", figures, ours="aats --help", peers=peers)


if __name__ == "__main__":
    main()
