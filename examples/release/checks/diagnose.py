"""Collects what explains a failure on somebody else's machine: `diagnose.py REPOSITORY`."""

import platform
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from result import finish


def main(repository: Path) -> None:
    """Print the interpreter, the platform, the state of the repository and what is installed."""
    command = ["git", "-C", str(repository), "status", "--short", "--branch"]
    try:
        status = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stdout
    except FileNotFoundError:
        status = ""
    installed = sorted(f"{found.name} {found.version}" for found in distributions())
    finish(
        f"Python {platform.python_version()} on {platform.platform()}",
        notes=[f"executable: {sys.executable}", *status.splitlines()[:30]],
        installed=installed,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
