"""What runs on Java comes from Maven Central, once, and only with the checksums that are pinned."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.services.service import ServiceError

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


def missing_for_java() -> str:
    """Name what Debian has to give; the jars are fetched when the server first starts."""
    absent = [program for program in ("java", "mvn") if not shutil.which(program)]
    return f"not installed: {', '.join(absent)} (Debian packages openjdk-17-jre-headless, maven)" if absent else ""


def fetch_jars(name: str) -> Path:
    """Have Maven fetch what `<name>.pom.xml` names, unless it is there, and return the directory with the jars.

    Raises where one of them is not as `<name>.sha256` says.
    """
    jars = CACHE / name
    lines = [line.split() for line in (HERE / f"{name}.sha256").read_text().splitlines()]
    pinned = {jar: checksum for checksum, jar in lines}
    if not jars.is_dir() or {path.name for path in jars.glob("*.jar")} != set(pinned):
        shutil.rmtree(jars, ignore_errors=True)
        run(["mvn", "-q", "-B", "-f", str(HERE / f"{name}.pom.xml"), COPY, f"-DoutputDirectory={jars}"])
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in jars.glob("*.jar")}
    if found != pinned:
        odd = sorted(jar for jar in found.keys() | pinned if found.get(jar) != pinned.get(jar))
        raise ServiceError(f"{name}: jars that are not the pinned ones in {jars}: {', '.join(odd)}")
    return jars


def run(command: list[str]) -> None:
    """Run a program to its end; raises with what it printed where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise ServiceError(f"{command[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
